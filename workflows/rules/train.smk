rule train:
    input:
        training_data,
        files=own_files,
    output:
        model=f"{RESULTS}/{{run}}/model/model.safetensors",
        config=f"{RESULTS}/{{run}}/model/config.yaml",
        history=f"{RESULTS}/{{run}}/model/history.csv",
        curve=report(
            f"{RESULTS}/{{run}}/model/history.png",
            caption="../report/history.rst",
            category="{run}",
            labels={"figure": "training"},
        ),
    log:
        f"{RESULTS}/{{run}}/logs/train.log",
    benchmark:
        f"{RESULTS}/{{run}}/logs/train.benchmark.tsv"
    # training continues from its state folder, so a job that was killed loses little when it is tried again
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
        study=study,
        overrides=overrides("prepare", "train"),
        data=training_folder,
        out=subpath(output.model, parent=True),
        state=f"{RESULTS}/{{run}}/.state",
    shell:
        "python -m sciflow train --data {params.data:q} --out {params.out:q} --state {params.state:q}"
        " study={params.study:q} {params.overrides:q} 2>&1 | tee {log:q}"
