# Pairs of the trained model of another run (`pairs: RUN`), by the sampler settings of that run and `rectify` of this one.
rule rectify:
    input:
        prepared,
        model=lambda w: f"{RESULTS}/{RUNS[w.run]['pairs']}/model/model.safetensors",
        config=lambda w: f"{RESULTS}/{RUNS[w.run]['pairs']}/model/config.yaml",
    output:
        expand(
            f"{RESULTS}/{{{{run}}}}/pairs/{{name}}.safetensors",
            name=["pairs_train", "pairs_val", "initial"],
        ),
        meta=f"{RESULTS}/{{run}}/pairs/meta.json",
    log:
        f"{RESULTS}/{{run}}/logs/rectify.log",
    benchmark:
        f"{RESULTS}/{{run}}/logs/rectify.benchmark.tsv"
    # drawing continues from its state folder
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
        overrides=rectify_overrides,
        data=data_folder,
        model=subpath(input.model, parent=True),
        out=subpath(output.meta, parent=True),
        state=f"{RESULTS}/{{run}}/.state",
    shell:
        "python -m sciflow rectify --data {params.data:q} --model {params.model:q} --out {params.out:q}"
        " --state {params.state:q} {params.overrides:q} 2>&1 | tee {log:q}"
