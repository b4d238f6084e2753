# Backbones, sequences for them, and what these fold to: by a command of the user's (`refold: …{samples}… {folded}…`),
# which reads SAMPLE.pdb and writes SAMPLE_1.pdb, SAMPLE_2.cif, …, one a sequence. Only for runs that have one.
rule refold:
    input:
        files=refold_files,
        samples=rules.sample.output.samples,
    output:
        folded=directory(f"{RESULTS}/{{run}}/folded"),
    log:
        f"{RESULTS}/{{run}}/logs/refold.log",
    benchmark:
        f"{RESULTS}/{{run}}/logs/refold.benchmark.tsv"
    conda:
        "../envs/sciflow.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=0,
    params:
        command=refold_command,
    shell:
        "mkdir -p {output.folded:q}; ( {params.command} ) 2>&1 | tee {log:q}"


rule self_consistency:
    input:
        samples=rules.sample.output.samples,
        folded=rules.refold.output.folded,
    output:
        metrics=f"{RESULTS}/{{run}}/self_consistency.json",
        table=f"{RESULTS}/{{run}}/self_consistency.csv",
    log:
        f"{RESULTS}/{{run}}/logs/self_consistency.log",
    benchmark:
        f"{RESULTS}/{{run}}/logs/self_consistency.benchmark.tsv"
    conda:
        "../envs/sciflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=__version__,
        samples=backbones,
        out=subpath(output.metrics, parent=True),
    shell:
        "python -m sciflow self-consistency --samples {params.samples:q} --folded {input.folded:q}"
        " --out {params.out:q} 2>&1 | tee {log:q}"
