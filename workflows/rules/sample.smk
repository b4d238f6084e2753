rule sample:
    input:
        prepared,
        model=rules.train.output.model,
        config=rules.train.output.config,
    output:
        samples=f"{RESULTS}/{{run}}/samples/samples.safetensors",
        config=f"{RESULTS}/{{run}}/samples/config.yaml",
    log:
        f"{RESULTS}/{{run}}/logs/sample.log",
    benchmark:
        f"{RESULTS}/{{run}}/logs/sample.benchmark.tsv"
    retries: 1
    conda:
        "../envs/sciflow.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=720,
        gpu=0,
    params:
        version=__version__,
        overrides=overrides("sample"),
        data=data_folder,
        model=subpath(input.model, parent=True),
        out=subpath(output.samples, parent=True),
        state=f"{RESULTS}/{{run}}/.state",
    shell:
        "python -m sciflow sample --data {params.data:q} --model {params.model:q} --out {params.out:q}"
        " --state {params.state:q} {params.overrides:q} 2>&1 | tee {log:q}"
