"""A model in memory; its methods do the same as the commands of that name."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import UsageError
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.variant_alleles import AlleleRecord, read_alleles
from genomai_cli.inference.classify import classify_records
from genomai_cli.inference.embed import Embedder, Settings
from genomai_cli.inference.explain import (
    METHODS,
    Explainer,
    Explanation,
    explained_values,
    labels_to_explain,
    require_explainable,
)
from genomai_cli.inference.letter_effects import MUTAGENESIS
from genomai_cli.inference.score import score_sequences, totals
from genomai_cli.inference.scorers import (
    ScoringOptions,
    likelihood_for,
    reads_window_by_window,
    scorer_for,
)
from genomai_cli.inference.variant_effects import ReferenceLookup, effects
from genomai_cli.library.generation import AS_TRAINED, Generation, Sampling, require_unset
from genomai_cli.library.inputs import (
    AS_WRITTEN,
    Compute,
    File,
    Listener,
    Progress,
    Records,
    VcfReading,
    inputs_of,
)
from genomai_cli.library.results import Calls, Embeddings, SequenceScores, VariantEffects
from genomai_cli.records import SequenceRecord
from genomai_cli.sources.installed import DEFAULT_DNA_MODEL, DEFAULT_GENERATOR
from genomai_cli.sources.model_choice import InstalledInputs, load_model, open_model, records_for
from genomai_cli.sources.records import read_records


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A model ready to use, as `load` gives it; `bundle` is what the package's own rooms work with."""

    bundle: Bundle

    @property
    def name(self) -> str:
        """What it is called."""
        return self.bundle.name

    @property
    def version(self) -> str:
        """The version of its weights."""
        return self.bundle.version

    @property
    def heads(self) -> dict[str, list[str]]:
        """The labels of every head; none for a model that was only pretrained, or that predicts numbers."""
        return self.bundle.heads

    def __repr__(self) -> str:
        heads = ", ".join([*self.heads, *self.bundle.numbers]) or "none"
        return f"<genomai model {self.name}@{self.version}, heads: {heads}>"

    def classify(
        self,
        records: Records,
        *,
        proportions: str | None = None,
        pcs: int | None = None,
        vcf: VcfReading = AS_WRITTEN,
        progress: Progress | None = None,
    ) -> Calls:
        """Labels with calibrated probabilities, as `genomai classify`.

        `proportions` of ancestry by the labels of a head and so many coordinates, `pcs`, are in `Calls.measured`.
        Raises InputError for a record that the model cannot read, BundleError for a model without heads.
        """
        input_records = self._records(records, vcf, progress)
        return _classify(self.bundle, input_records, proportions, pcs)

    def embed(
        self,
        records: Records,
        *,
        pool: str = "mean",
        layer: int = -1,
        both_strands: bool = False,
        window: int | None = None,
        stride: int | None = None,
        vcf: VcfReading = AS_WRITTEN,
        progress: Progress | None = None,
    ) -> Embeddings:
        """A vector a record, as `genomai embed`: by `pool` mean, cls, max or pooler, after a `layer` (-1 the last).

        Raises InputError for a record that the model cannot read, UsageError for settings that it cannot follow.
        """
        settings = Settings(pool, layer, both_strands, window=window, stride=stride)
        return _embed(self.bundle, self._records(records, vcf, progress), settings)

    def score(
        self,
        records: Records,
        *,
        window: int | None = None,
        mask_every: int | None = None,
        both_strands: bool = False,
        progress: Progress | None = None,
    ) -> SequenceScores:
        """Log-likelihoods of sequences in nats, as `genomai score`; BundleError for a model that has none."""
        reading = ScoringOptions(window, None, mask_every, both_strands)
        likelihood = likelihood_for(self.bundle, reading)
        scores = list(totals(score_sequences(likelihood, self._sequences(records, progress))))
        return SequenceScores.of(scores, likelihood.method)

    def score_variants(
        self,
        variants: Records,
        reference: File,
        *,
        window: int | None = None,
        flank: int | None = None,
        mask_every: int | None = None,
        both_strands: bool = False,
        skip_mismatches: bool = False,
        progress: Progress | None = None,
    ) -> VariantEffects:
        """What each allele of a VCF or BCF changes, as `genomai score --reference`.

        InputError for a record that is not as in the `reference`, a FASTA; with `skip_mismatches` a warning, and the
        allele is among those that were skipped.
        """
        bundle = copy.deepcopy(self.bundle) if reads_window_by_window(self.bundle) else self.bundle
        scorer = scorer_for(bundle, ScoringOptions(window, flank, mask_every, both_strands))
        listener = Listener(progress)
        with open_reference(Path(reference)) as fasta:
            site = ReferenceLookup(fasta, listener.warn if skip_mismatches else None)
            allele_effects = list(effects(_alleles(variants), site, scorer))
        return VariantEffects.of(allele_effects, scorer.labels, scorer.location_names)

    def explain(
        self,
        records: Records,
        *,
        head: str | None = None,
        label: str | None = None,
        method: str = MUTAGENESIS,
        both_strands: bool = False,
        progress: Progress | None = None,
    ) -> list[Explanation | None]:
        """What each letter adds to the log odds of a record's most likely label, or of the `label` asked for, as
        `genomai explain`; None where the model can read nothing. The `method` is `ism` or `gradient`. Of a model of
        tracks the `label` names one, whose ln of the mean over the record is explained. `flags` are those of the call.

        Raises BundleError for a model that reads no plain DNA or has no answers, UsageError for a label that it does
        not have, InputError for a record longer than a model of tracks reads.
        """
        if method not in METHODS:
            raise UsageError(f"method {method}: there are {', '.join(METHODS)}")
        require_explainable(self.bundle, method)
        odds = explained_values(self.bundle, both_strands=both_strands)
        explainer = Explainer(odds, labels_to_explain(self.bundle, head, label), method)
        return [
            explanation for _, explanation in explainer.explain(self._sequences(records, progress))
        ]

    def generate(
        self,
        number: int = 1,
        *,
        phenotype: str | Sequence[str] | None = None,
        haplotypes: bool = False,
        length: int | None = None,
        prompt: str = "",
        seed: int = 0,
        sampling: Sampling = AS_TRAINED,
    ) -> list[SequenceRecord]:
        """New records, as `genomai generate`: barcodes of `number` people of each phenotype, which may be several with
        weights (`EUR:0.7,AFR:0.3`), or with `haplotypes` two records each; or so much DNA of a `length` that begins
        with a `prompt`, of a model with labels that of each phenotype.

        Raises BundleError for a model that generates nothing, UsageError for settings that are not for this model.
        """
        if number < 1:
            raise UsageError(f"number {number}: 1 or more")
        generation = Generation(self.bundle, seed, sampling)
        phenotypes = [phenotype] if isinstance(phenotype, str) else list(phenotype or ())
        if generation.draws_individuals:
            require_unset(self.name, "makes people of a panel", length=length, prompt=prompt)
            return list(generation.individuals(phenotypes, number, haplotypes=haplotypes))
        require_unset(self.name, "makes DNA", haplotypes=haplotypes)
        return list(generation.dna(phenotypes, number, length, prompt))

    def _sequences(self, records: Records, progress: Progress | None) -> Iterator[SequenceRecord]:
        return read_records(
            Listener(progress),
            inputs_of(records),
            lambda: self.bundle.coordinates,
            variants=AS_WRITTEN,
            tokenizer=lambda: self.bundle.tokenizer,
            plain=lambda: True,
        )

    def _records(
        self, records: Records, vcf: VcfReading, progress: Progress | None
    ) -> Iterator[SequenceRecord]:
        return records_for(self.bundle, Listener(progress), inputs_of(records), variants=vcf)


def load(name: File, *, device: str = "auto", threads: int | None = None) -> Model:
    """The installed model of that name (`genomai models list`), or that of a bundle's folder, ready for questions.

    Raises BundleError if it is not there, damaged, or made for a newer program; UsageError for a device that is not.
    """
    return Model(load_model(Listener(), _catalog_name(name), Compute(device, threads)))


def classify(
    records: Records,
    model: File | Model | None = None,
    *,
    proportions: str | None = None,
    pcs: int | None = None,
    vcf: VcfReading = AS_WRITTEN,
    device: str = "auto",
    progress: Progress | None = None,
) -> Calls:
    """Labels with calibrated probabilities, see `Model.classify`; without a model by the one that the first records
    speak for, as `genomai classify`."""
    bundle, input_records = _open(records, model, vcf, device, progress)
    return _classify(bundle, input_records, proportions, pcs)


def embed(
    records: Records,
    model: File | Model | None = None,
    *,
    pool: str = "mean",
    layer: int = -1,
    both_strands: bool = False,
    vcf: VcfReading = AS_WRITTEN,
    device: str = "auto",
    progress: Progress | None = None,
) -> Embeddings:
    """A vector a record, see `Model.embed`; without a model by the one that the first records speak for."""
    bundle, input_records = _open(records, model, vcf, device, progress, DEFAULT_DNA_MODEL)
    return _embed(bundle, input_records, Settings(pool, layer, both_strands))


def generate(
    number: int = 1,
    model: File | Model = DEFAULT_GENERATOR,
    *,
    phenotype: str | Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
) -> list[SequenceRecord]:
    """New people, or with a model of DNA new sequences; see `Model.generate`, which has more to ask for."""
    return _model(model, device).generate(number, phenotype=phenotype, seed=seed)


def score(
    records: Records,
    model: File | Model,
    *,
    both_strands: bool = False,
    device: str = "auto",
) -> SequenceScores:
    """Log-likelihoods of sequences in nats; see `Model.score`."""
    return _model(model, device).score(records, both_strands=both_strands)


def score_variants(
    variants: Records,
    reference: File,
    model: File | Model,
    *,
    both_strands: bool = False,
    device: str = "auto",
) -> VariantEffects:
    """What each allele of a VCF changes; see `Model.score_variants`."""
    return _model(model, device).score_variants(variants, reference, both_strands=both_strands)


def explain(
    records: Records,
    model: File | Model,
    *,
    label: str | None = None,
    device: str = "auto",
) -> list[Explanation | None]:
    """What each letter of sequences adds to a call; see `Model.explain`."""
    return _model(model, device).explain(records, label=label)


def _catalog_name(model: File) -> str:
    """The name by which the catalog finds a model: a path is always that of a folder or file."""
    return model if isinstance(model, str) else str(Path(model).absolute())


def _model(model: File | Model, device: str) -> Model:
    return model if isinstance(model, Model) else load(model, device=device)


def _open(
    records: Records,
    model: File | Model | None,
    vcf: VcfReading,
    device: str,
    progress: Progress | None,
    dna_model: str | None = None,
) -> tuple[Bundle, Iterator[SequenceRecord]]:
    """The model, and the records as it reads them; `dna_model` is that of DNA that no other model reads."""
    listener, inputs = Listener(progress), inputs_of(records)
    if isinstance(model, Model):
        return model.bundle, records_for(model.bundle, listener, inputs, variants=vcf)
    name = None if model is None else _catalog_name(model)
    opened = open_model(listener, inputs, name, Compute(device), variants=vcf, dna_model=dna_model)
    return opened.bundle, opened.records


def _classify(
    bundle: Bundle, records: Iterator[SequenceRecord], proportions: str | None, pcs: int | None
) -> Calls:
    options = {"proportions": proportions, "pcs": pcs}
    requested = {name: value for name, value in options.items() if value is not None}
    measures = bundle.input.measures(requested) if requested else ()
    calls = classify_records(bundle, records, other_inputs=InstalledInputs(), measures=measures)
    columns = tuple(column for measure in measures for column in measure.columns)
    model = f"{bundle.name}@{bundle.version}"
    return Calls(tuple(calls), bundle.heads, model, columns, tuple(bundle.numbers))


def _embed(bundle: Bundle, records: Iterator[SequenceRecord], settings: Settings) -> Embeddings:
    embedder = Embedder(bundle, settings, InstalledInputs())
    embedded = list(embedder.embed(records))
    vectors = np.array([record.vector for record in embedded], np.float32).reshape(
        -1, embedder.width
    )
    return Embeddings([record.name for record in embedded], vectors, embedder.attributes)


def _alleles(variants: Records) -> Iterator[AlleleRecord]:
    for source in inputs_of(variants):
        yield from read_alleles(source).records
