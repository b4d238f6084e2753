rule evaluate:
    input:
        prepared,
        samples=rules.sample.output.samples,
        config=rules.sample.output.config,
    output:
        metrics=f"{RESULTS}/{{run}}/metrics.json",
        table=report(
            f"{RESULTS}/{{run}}/metrics.html",
            caption="../report/metrics.rst",
            category="{run}",
            labels={"figure": "metrics"},
        ),
        figures=report(
            directory(f"{RESULTS}/{{run}}/figures"),
            patterns=["{name}.png"],
            caption="../report/figure.rst",
            category="{run}",
            labels={"figure": "{name}"},
        ),
    log:
        f"{RESULTS}/{{run}}/logs/evaluate.log",
    benchmark:
        f"{RESULTS}/{{run}}/logs/evaluate.benchmark.tsv"
    conda:
        "../envs/sciflow.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=__version__,
        overrides=overrides("evaluate"),
        data=data_folder,
        samples=subpath(input.samples, parent=True),
        out=subpath(output.metrics, parent=True),
    shell:
        "python -m sciflow evaluate --data {params.data:q} --samples {params.samples:q} --out {params.out:q}"
        " {params.overrides:q} 2>&1 | tee {log:q}"
