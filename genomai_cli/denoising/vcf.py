"""VCF and BCF restored: read once for what the samples are like, and once more to be passed on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

from genomai_cli.bundles.bundle import Bundle
from genomai_cli.denoising.base import PeopleModel, Settings
from genomai_cli.denoising.fasta import model_of
from genomai_cli.denoising.sequences import GuessedDna
from genomai_cli.denoising.vcf_records import RecordEditor, Report
from genomai_cli.errors import BundleError, InputError
from genomai_cli.formats.streams import Input
from genomai_cli.formats.vcf import read_variants
from genomai_cli.formats.vcf_replay import Again, as_text
from genomai_cli.formats.vcf_rewrite import Passage
from genomai_cli.mapping.vcf_genomes import read_genomes
from genomai_cli.phylogeny.denoise import GenomesPlan, GuessedGenomes
from genomai_cli.population.cohorts import Cohort, site_index
from genomai_cli.population.imputation.vcf import PeoplePlan

FEWEST_SITES = 10  # of the model that a file has to have: a few may be there by chance
STAYS = "the file stays as it is"


@dataclass(frozen=True)
class Wish:
    """`absent_is_ref`: sites that the file does not have are homozygous reference. `only_present`: none is added."""

    settings: Settings
    absent_is_ref: bool = False
    only_present: bool = False


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


@dataclass(frozen=True, eq=False)
class _Found:
    """What the first reading has brought."""

    samples: list[str]
    plan: PeoplePlan | GenomesPlan | None
    messages: tuple[str, ...]
    warnings: tuple[str, ...]


def restore_variants(
    source: Input, out: IO[bytes], bundle: Bundle, wish: Wish, report: Report | None
) -> Summary:
    """Write the VCF with its missing genotypes at the model's sites filled in; `report` takes every change.

    Raises BundleError for a model that reads no VCF, InputError for a damaged file.
    """
    model = model_of(bundle)
    if isinstance(model, GuessedDna):
        raise BundleError(f"the model {bundle.name!r} has no panel: it does not read VCF")
    with as_text(source) as again:
        found = _read(again, model, wish)
        if found.plan is None:
            with again() as whole:
                out.writelines(whole.stream)
            nothing = (found.messages, found.warnings)
            return Summary(len(found.samples), 0, {}, *nothing, known=False)
        return _passed(
            again, out, found, found.plan, wish, report, f"{bundle.name}@{bundle.version}"
        )


def _read(again: Again, model: PeopleModel | GuessedGenomes, wish: Wish) -> _Found:
    if isinstance(model, GuessedGenomes):
        return _genomes(again, model, wish)
    return _people(again, model, wish)


def _people(again: Again, model: PeopleModel, wish: Wish) -> _Found:
    sites = site_index(model.panel)
    with again() as source:
        file = read_variants(source, sites)
        cohort = Cohort(model.panel, file)
        cohort.add(file, sites)
    try:
        calls, report = cohort.calls(absent_is_ref=wish.absent_is_ref)
    except InputError as error:  # no site of the model
        return _Found(cohort.samples, None, (), (f"{error}: {STAYS}",))
    if report.matched < min(FEWEST_SITES, len(model.panel) / 2):
        return _Found(cohort.samples, None, (), (f"{report}: too few, {STAYS}",))
    plan = PeoplePlan(model, calls, report.build, cohort.samples, wish.settings)
    return _Found(cohort.samples, plan, (str(report),), report.warnings)


def _genomes(again: Again, model: GuessedGenomes, wish: Wish) -> _Found:
    source = again()  # closed by its reader
    (genomes,) = read_genomes([source], model.reference, absent_is_ref=wish.absent_is_ref)
    plan = GenomesPlan(model, genomes, wish.settings)
    return _Found(genomes.samples, plan, (str(genomes.report),), ())


def _passed(
    again: Again,
    out: IO[bytes],
    found: _Found,
    plan: PeoplePlan | GenomesPlan,
    wish: Wish,
    report: Report | None,
    origin: str,
) -> Summary:
    editor = RecordEditor(plan, found.samples, wish.settings, f"model={origin}", report)
    additions = [] if wish.only_present else plan.additions
    with again() as source:
        editor.path = source.path
        passage = Passage(editor, additions, there=plan.there, natural=list(plan.lengths))
        passage.run(source, out)
    usable = int(plan.usable.sum())
    warnings = [*found.warnings, *_warnings(editor.counts, len(found.samples) - usable)]
    counts = {name: int(number) for name, number in editor.counts.items()}
    return Summary(len(found.samples), usable, counts, found.messages, tuple(warnings))


def _warnings(counts: Mapping[str, int], unusable: int) -> Iterator[str]:
    if counts["left_alone"]:
        yield (
            f"{counts['left_alone']} records with missing genotypes have other alleles than the model's, or more: "
            "unchanged"
        )
    if unusable:
        yield f"{unusable} samples have no genotype at the model's sites: unchanged"
