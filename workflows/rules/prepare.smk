rule prepare:
    input:
        files=own_files,
    output:
        expand(
            f"{RESULTS}/{{{{run}}}}/data/{{split}}.safetensors",
            split=["train", "val", "test"],
        ),
        meta=f"{RESULTS}/{{run}}/data/meta.json",
    log:
        f"{RESULTS}/{{run}}/logs/prepare.log",
    benchmark:
        f"{RESULTS}/{{run}}/logs/prepare.benchmark.tsv"
    conda:
        "../envs/sciflow.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        version=__version__,
        study=study,
        overrides=overrides("prepare"),
        out=subpath(output.meta, parent=True),
        raw=(
            f"--raw {shlex.quote(config['raw'])}"
            if Path(config["raw"]).is_dir()
            else ""
        ),
    shell:
        "python -m sciflow prepare --out {params.out:q} {params.raw}"
        " study={params.study:q} {params.overrides:q} 2>&1 | tee {log:q}"
