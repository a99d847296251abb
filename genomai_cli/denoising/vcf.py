"""VCF and BCF restored: read once for what the samples are like, and once more to be passed on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

from genomai_cli.denoising.base import Denoiser, SiteModel, VcfOptions, VcfSamples
from genomai_cli.denoising.vcf_records import RecordEditor, Report
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf_replay import Again, as_text
from genomai_cli.formats.vcf_rewrite import Passage


@dataclass(frozen=True)
class Summary:
    """What became of a file: how many `samples` it has, of which something is known of `usable`; counts of what was
    done, see `RecordEditor`; and what is worth telling. `known` is False for a file that has none of the model's
    sites."""

    samples: int
    usable: int
    counts: Mapping[str, int] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    known: bool = True


def denoise_vcf(
    source: Input,
    out: IO[bytes],
    denoiser: Denoiser,
    options: VcfOptions,
    *,
    origin: str,
    report: Report | None,
) -> Summary:
    """Write the VCF with its missing genotypes at the model's sites filled in; `report` takes every change.

    Raises BundleError for a model that reads no VCF, InputError for a damaged file.
    """
    with as_text(source) as again:
        found = denoiser.read_vcf(again, options)
        if found.model is None:
            with again() as unchanged:
                out.writelines(unchanged.stream)
            messages = (found.messages, found.warnings)
            return Summary(len(found.samples), 0, {}, *messages, known=False)
        editor = RecordEditor(
            found.model, found.samples, options.settings, f"model={origin}", report
        )
        _rewrite(again, out, found.model, editor, only_present=options.only_present)
        return _summary(found, found.model, editor)


def _rewrite(
    again: Again, out: IO[bytes], model: SiteModel, editor: RecordEditor, *, only_present: bool
) -> None:
    additions = [] if only_present else model.additions
    with again() as source:
        editor.path = source.path
        passage = Passage(editor, additions, there=model.present, natural=list(model.lengths))
        passage.run(source, out)


def _summary(found: VcfSamples, model: SiteModel, editor: RecordEditor) -> Summary:
    usable, samples = int(model.usable.sum()), len(found.samples)
    warnings = [*found.warnings, *_warnings(editor.counts, samples - usable)]
    counts = {name: int(number) for name, number in editor.counts.items()}
    return Summary(samples, usable, counts, found.messages, tuple(warnings))


def _warnings(counts: Mapping[str, int], unusable: int) -> Iterator[str]:
    if counts["left_alone"]:
        yield (
            f"{counts['left_alone']} records with missing genotypes have other alleles than the model's, or more: "
            "unchanged"
        )
    if unusable:
        yield f"{unusable} samples have no genotype at the model's sites: unchanged"
