"""Dotted paths of the things that configs and recipes name, imported when they are needed.

The core finds its applications (`population`, `phylogeny`) here and nowhere else, and never imports them. A new network
family, objective or kind of input is its own file and a line in one of these tables.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

NETWORKS = {
    "transformer": "genomai_cli.backbones.transformer:TransformerNetwork",
    "dnabert": "genomai_cli.backbones.dnabert:DnabertNetwork",
    "caduceus": "genomai_cli.backbones.caduceus:CaduceusNetwork",
    "hyenadna": "genomai_cli.backbones.hyenadna:HyenaDnaNetwork",
    "striped_hyena": "genomai_cli.backbones.striped_hyena:StripedHyenaNetwork",
    "alphagenome": "genomai_cli.backbones.alphagenome:AlphaGenomeNetwork",
    "kmer_frequencies": "genomai_cli.backbones.kmer_frequencies:KmerFrequencies",
    "omicsfusion": "genomai_cli.backbones.omicsfusion:OmicsFusionNetwork",
    "dilated_convolutions": "genomai_cli.backbones.dilated_convolutions:DilatedConvolutionsNetwork",
    "sequence_ensemble": "genomai_cli.backbones.sequence_ensemble:SequenceEnsemble",
    "sites": "genomai_cli.population.networks.genotype_mlp:SitesNetwork",
    "genotype_regression": "genomai_cli.population.networks.genotype_regression:GenotypeRegression",
    "denoiser": "genomai_cli.population.networks.denoiser:DenoiserNetwork",
    "region": "genomai_cli.population.networks.windowed_imputer:RegionNetwork",
    "haplotypes": "genomai_cli.population.networks.imputer_network:ImputerNetwork",
    "crossmodal": "genomai_cli.population.networks.crossmodal:CrossmodalNetwork",
    "profile": "genomai_cli.phylogeny.variant_network:ProfileNetwork",
    "lineages": "genomai_cli.phylogeny.lineage_mixture:LineageNetwork",
}

TRACK_READERS = {  # of networks
    "omicsfusion": "genomai_cli.inference.omicsfusion_reader:OmicsFusionReader",
    "alphagenome": "genomai_cli.inference.alphagenome_reader:AlphaGenomeReader",
}

OBJECTIVES = {
    "contrastive": "genomai_cli.objectives.contrastive:Contrastive",
    "masked": "genomai_cli.objectives.masked:Masked",
    "causal": "genomai_cli.objectives.causal:Causal",
    "diffusion": "genomai_cli.objectives.diffusion:Diffusion",
    "omics": "genomai_cli.objectives.omics:Omics",
    "tracks": "genomai_cli.objectives.tracks:Tracks",
    "crossmodal": "genomai_cli.population.alignment.objective:Crossmodal",
}

INPUT_KINDS = {
    "sequence": "genomai_cli.inputs.sequences:SequenceInput",
    "barcode": "genomai_cli.population.barcode_input:BarcodeInput",
    "people": "genomai_cli.population.haplotype_input:HaplotypeInput",
    "described": "genomai_cli.population.phenotype_input:PhenotypeInput",
    "anchored": "genomai_cli.phylogeny.genome_input:GenomeInput",
    "tracks": "genomai_cli.inputs.tracks:TrackInput",
}

EVIDENCE = {
    "likelihood": "genomai_cli.population.networks.likelihood_fit:LikelihoodSettings",
    "regression": "genomai_cli.phylogeny.regression:RegressionSettings",
}

DENOISERS = {  # of the kinds of input
    "sequence": "genomai_cli.denoising.sequences:denoiser_of",
    "tracks": "genomai_cli.denoising.sequences:denoiser_of",  # which refuses it
    "barcode": "genomai_cli.population.imputation.network_models:denoiser_of",
    "people": "genomai_cli.population.imputation.network_models:denoiser_of",
    "described": "genomai_cli.population.imputation.network_models:denoiser_of",
    "anchored": "genomai_cli.phylogeny.denoise:denoiser_of",
}

DENOISERS_OF_ARRAYS = {  # of networks: what restores by their arrays alone, without torch
    "haplotypes": "genomai_cli.population.imputation.stored:denoiser_of",
}

GENERATORS = {  # of the kinds of input
    "sequence": "genomai_cli.inference.generate_diffusion:SequenceGenerator",
    "tracks": "genomai_cli.inference.generate_diffusion:SequenceGenerator",  # which refuses it
    "barcode": "genomai_cli.population.generation.sampler:HaplotypeGenerator",
    "people": "genomai_cli.population.generation.sampler:HaplotypeGenerator",
    "described": "genomai_cli.population.generation.sampler:HaplotypeGenerator",
    "anchored": "genomai_cli.phylogeny.generate:GenomeGenerator",
}

DIFFUSERS = {  # of views, by the kinds of input
    "sequence": "genomai_cli.inference.generate_diffusion:SequenceDiffuser",
    "tracks": "genomai_cli.inference.generate_diffusion:SequenceDiffuser",  # which refuses it
    "barcode": "genomai_cli.population.generation.sampler:HaplotypeDiffuser",
    "people": "genomai_cli.population.generation.sampler:HaplotypeDiffuser",
    "described": "genomai_cli.population.generation.sampler:HaplotypeDiffuser",
    "anchored": "genomai_cli.inference.generate_diffusion:SequenceDiffuser",  # which refuses it
}

# Released checkpoint layouts; tried in this order.
ADAPTERS = {
    "dnabert": "genomai_cli.bundles.adapters.dnabert",
    "caduceus": "genomai_cli.bundles.adapters.caduceus",
    "hyenadna": "genomai_cli.bundles.adapters.hyenadna",
    "evo": "genomai_cli.bundles.adapters.evo",
    "alphagenome": "genomai_cli.bundles.adapters.alphagenome",
    "alphagenome_jax": "genomai_cli.bundles.adapters.alphagenome_jax",
}


TOKENIZERS = {
    "characters": "genomai_cli.tokenizers.characters:Characters",
    "iupac": "genomai_cli.tokenizers.characters:iupac",
    "kmers": "genomai_cli.tokenizers.kmers:Kmers",
    "symmetric": "genomai_cli.tokenizers.kmers:SymmetricKmers",
    "bytes": "genomai_cli.tokenizers.bytes:Bytes",
    "bert_kmers": "genomai_cli.tokenizers.bert_kmers:BertKmers",
    "dna_characters": "genomai_cli.tokenizers.dna_characters:DnaCharacters",
}


def resolve(path: str) -> Any:
    """The object at a dotted path `MODULE:NAME`, or the module `MODULE`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name) if name else import_module(module)


def find(table: Mapping[str, str], name: object) -> Any:
    """The object of that name in a table; KeyError that lists the names if there is none."""
    if name not in table:
        raise KeyError(f"no {name!r} (there are: {', '.join(table)})")
    return resolve(table[str(name)])
