// A module in the form of nf-core's: a table of populations, and the run's record, for each input.
process GENOMAI_CLASSIFY {
    tag "$meta.id"
    label 'process_single'

    conda "bioconda::genomai=0.1.0"
    container "genomai:0.1.0"

    input:
    tuple val(meta), path(genotypes)

    output:
    tuple val(meta), path("*.populations.tsv"), emit: table
    tuple val(meta), path("*.json")           , emit: record
    path "versions.yml"                       , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args   = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    genomai classify \\
        $args \\
        --threads $task.cpus \\
        --report-json ${prefix}.json \\
        --output ${prefix}.populations.tsv \\
        $genotypes

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        genomai: \$(genomai --version | sed 's/genomai //')
    END_VERSIONS
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.populations.tsv ${prefix}.json
    echo '"${task.process}": {genomai: stub}' > versions.yml
    """
}
