"""Odd and broken files, made here, of the kinds that are in the tests of public parsers (`../shared/torture`).

`VALID` must be accepted (or refused only because they hold nothing to use), `FAULTY` must be refused, and `ODD` may be
either: a reader gives records of them or one clear line.
"""

import gzip

VCF_COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"
GT = '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'


def vcf(
    *rows: str,
    version: str = "VCFv4.2",
    meta: str = GT,
    columns: str = VCF_COLUMNS,
    samples: str = "S1\tS2",
) -> bytes:
    """A VCF of rows whose columns are separated by single spaces."""
    head = f"##fileformat={version}\n{meta}" + "\t".join(filter(None, [columns, samples]))
    return "\n".join([head, *(row.replace(" ", "\t") for row in rows), ""]).encode()


ROW = "20 14370 rs1 G A 29 PASS NS=3;DP=14 GT 0|1 1|1"
ROWS = (ROW, "20 17330 . T A 3 q10 DP=11 GT 0|0 0|1", "20 1230237 . T . 47 PASS . GT 0|0 ./.")
META = (
    "##fileDate=20090805\n##source=made\n##reference=file:///seq/made.fasta\n"
    '##contig=<ID=20,length=62435964,assembly=B36,species="Homo sapiens",taxonomy=x>\n'
    "##phasing=partial\n##assembly=ftp://example.org/assembly.fa\n"
    '##INFO=<ID=NS,Number=1,Type=Integer,Description="Samples, \\"with data\\"",Source="s",Version="1">\n'
    '##INFO=<ID=DB,Number=0,Type=Flag,Description="a flag">\n'
    '##FILTER=<ID=q10,Description="Quality below 10">\n'
    '##ALT=<ID=DEL,Description="Deletion">\n'
    "##SAMPLE=<ID=S1,Genomes=G;T,Mixture=.1;.9>\n##PEDIGREE=<Child=S1,Mother=S2>\n"
    "##pedigreeDB=<https://example.org/pedigrees>\n"
)
HEADER = vcf(meta=GT)
ALLELES = ",".join("ACGT"[n % 4] * (2 + n // 4) for n in range(300))
FASTQ = "@r1\nACGTACGT\n+\nIIIIIIII\n@r2 two\nGGCC\n+r2 two\n!~II\n"
FASTA = ">one\nACGT\nACGTNN\n>two words of a title\nTTTT\n"

VALID = {
    "minimal.vcf": vcf(*ROWS),
    "no_last_newline.vcf": vcf(*ROWS).rstrip(b"\n"),
    "every_meta_line.vcf": vcf(*ROWS, meta=META + GT),
    "version_4.1.vcf": vcf(*ROWS, version="VCFv4.1"),
    "version_4.3.vcf": vcf(*ROWS, version="VCFv4.3"),
    "symbolic_alleles.vcf": vcf(
        "1 100 . A <DEL> . . SVTYPE=DEL;END=200 GT 0/1 0/0",
        "1 300 . G G]17:198982] . . SVTYPE=BND GT 0/1 0/0",
        "1 400 . C <INS:ME:ALU>,T . . . GT 1/2 0/0",
        "1 500 . C *,<NON_REF> . . . GT 1/2 0/0",
    ),
    "ploidies.vcf": vcf("X 5 . A G . . . GT 0 1/1/0", "X 7 . A G . . . GT . 1|0|1|0"),
    "missing_values.vcf": vcf("1 5 . A . . . . GT . ./."),
    "more_fields_than_values.vcf": vcf("1 5 . A G . . . GT:DP:GQ 0/1 0/0:3"),
    "no_genotypes_in_format.vcf": vcf("1 5 . A G . . . DP 3 4"),
    "no_samples.vcf": vcf("1 5 . A G . . .", columns=VCF_COLUMNS.removesuffix("\tFORMAT"), samples=""),
    "header_alone.vcf": HEADER,
    "a_position_of_0.vcf": vcf("1 0 . N <DEL> . . . GT 0/1 0/0"),
    "an_info_of_utf8.vcf": vcf("1 5 . A G . . NOTE=Gr\u00fc\u00dfe GT 0/1 0/0"),
    "odd_contig_names.vcf": vcf("HLA-A*01:01:01:01 5 . A G . . . GT 0/1 0/0", "1,2|3 6 . A G . . . GT 0/0 1/1"),
    "many_alleles.vcf": vcf(f"1 5 . A {ALLELES} . . . GT 0/299 1/300"),
    "multi_base_alleles.vcf": vcf("1 5 . ACGTACGT A . . . GT 0/1 0/0", "1 9 . A ACCCCC,AC . . . GT 1/2 0/0"),
    "equal_records.vcf": vcf(ROW, ROW),
    "gzipped.vcf.gz": gzip.compress(vcf(*ROWS)),
    "members_of_gzip.vcf.gz": gzip.compress(HEADER) + gzip.compress(vcf(*ROWS)[len(HEADER) :]),
    "two_records.fa": FASTA.encode(),
    "dos.fa": FASTA.replace("\n", "\r\n").encode(),
    "no_last_newline.fa": FASTA.rstrip("\n").encode(),
    "wrapped_unevenly.fa": b">one\nA\nCGTACGT\n\nAC\n>two\n\nGG\n",
    "lower_case.fa": b">one\nacgtnnACGT\n",
    "iupac.fa": b">one\nACGTRYSWKMBDHVN\n",
    "gzipped.fa.gz": gzip.compress(FASTA.encode()),
    "two_records.fq": FASTQ.encode(),
    "dos.fq": FASTQ.replace("\n", "\r\n").encode(),
    "wrapped.fq": b"@r1\nACGT\nACGT\n+\n@III\n+III\n@r2\nGG\nCC\n+r2\nII\nII\n",
    "qualities_that_look_like_titles.fq": b"@r1\nACGT\n+\n@@@@\n@r2\nACGT\n+\n++++\n",
}  # fmt: skip

FAULTY = {
    "another_title_at_plus.fq": b"@r1\nACGT\n+r2\nIIII\n",
    "qualities_twice.fq": b"@r1\nACGT\n+\nIIII\n+\nIIII\n",
    "sequence_twice.fq": b"@r1\nACGT\n@r1\nACGT\n+\nIIII\n",
    "no_qualities.fq": b"@r1\nACGT\n+\n\n@r2\nACGT\n+\nIIII\n",
    "a_quality_of_null.fq": b"@r1\nACGT\n+\nII\x00I\n",
    "a_quality_of_space.fq": b"@r1\nACGT\n+\nII I\n",
    "a_quality_of_delete.fq": b"@r1\nACGT\n+\nII\x7fI\n",
    "short_qualities.fq": b"@r1\nACGT\n+\nIII\n@r2\nACGT\n+\nIIII\n",
    "long_qualities.fq": b"@r1\nACGT\n+\nIIIII\n@r2\nACGT\n+\nIIII\n",
    "spaces_in_sequence.fq": b"@r1\nAC GT\n+\nIIIII\n",
    "tabs_in_sequence.fq": b"@r1\nAC\tGT\n+\nIIIII\n",
    "ends_in_title.fq": b"@r1\nACGT\n+\nIIII\n@r2",
    "ends_in_sequence.fq": b"@r1\nACGT\n+\nIIII\n@r2\nACG",
    "ends_at_plus.fq": b"@r1\nACGT\n+\nIIII\n@r2\nACGT\n+",
    "ends_in_qualities.fq": b"@r1\nACGT\n+\nIIII\n@r2\nACGT\n+\nII",
    "protein.fa": b">p\nMKVLAAGELQIZ*\n",
    "digits.fa": b">one\nACGT1234\n",
    "binary.fa": b">one\n" + bytes(range(256)) + b"\n",
    "letters_before_the_first_title.fa": b"ACGT\n>one\nACGT\n",
    "empty": b"",
    "empty.gz": gzip.compress(b""),
    "words": b"once upon a time\n",
    "null_bytes": bytes(1000),
    "gzip_cut_off.vcf.gz": gzip.compress(vcf(*ROWS * 200))[:-20],
    "gzip_with_a_wrong_sum.fa.gz": gzip.compress(FASTA.encode())[:-8] + b"12345678",
    "gzip_of_nothing_known.gz": gzip.compress(b"once upon a time\n"),
    "bcf_in_name_alone.bcf": b"BCF\x02\x02" + bytes(100),
    "no_header_line.vcf": b"##fileformat=VCFv4.2\n1\t5\t.\tA\tG\t.\t.\t.\tGT\t0/1\n",
    "meta_lines_alone.vcf": b"##fileformat=VCFv4.2\n" + GT.encode(),
    "a_column_missing.vcf": vcf(ROW.rsplit(" ", 1)[0]),
    "a_column_too_many.vcf": vcf(ROW + " 0|0"),
    "a_row_cut_off.vcf": vcf(*ROWS, "20 14370 rs"),
    "spaces_for_tabs.vcf": vcf() + ROW.encode() + b"\n",
    "a_position_in_words.vcf": vcf(ROW.replace("14370", "here")),
    "a_negative_position.vcf": vcf(ROW.replace("14370", "-5")),
    "a_position_with_a_fraction.vcf": vcf(ROW.replace("14370", "14.5")),
    "a_genotype_in_words.vcf": vcf(ROW.replace("1|1", "both")),
}  # fmt: skip

ODD = {
    "an_allele_that_is_not_there.vcf": vcf(ROW.replace("1|1", "1|7")),
    "no_version.vcf": vcf(*ROWS).split(b"\n", 1)[1],
    "another_version.vcf": vcf(*ROWS, version="VCFv9.9"),
    "dos.vcf": vcf(*ROWS).replace(b"\n", b"\r\n"),
    "blank_lines.vcf": vcf(ROW, "", ROWS[1]),
    "a_sample_twice.vcf": vcf(*ROWS, samples="S1\tS1"),
    "an_empty_sample.vcf": vcf(*ROWS, samples="S1\t"),
    "unsorted.vcf": vcf(*reversed(ROWS)),
    "contigs_that_return.vcf": vcf(ROW, "19 5 . A G . . . GT 0/1 0/0", ROW),
    "an_allele_of_other_letters.vcf": vcf("1 5 . A Q . . . GT 0/1 0/0"),
    "no_reference_allele.vcf": vcf("1 5 . . G . . . GT 0/1 0/0"),
    "an_empty_allele.vcf": vcf("1 5 . A G, . . . GT 0/1 0/0"),
    "a_quality_in_words.vcf": vcf("1 5 . A G good . . GT 0/1 0/0"),
    "a_meta_line_that_does_not_end.vcf": vcf(*ROWS, meta='##INFO=<ID=NS,Number=1,Description="'),
    "a_meta_line_without_a_key.vcf": vcf(*ROWS, meta="##\n##=\n"),
    "a_large_position.vcf": vcf(ROW.replace("14370", "2147483647")),
    "a_position_of_64_bits.vcf": vcf(ROW.replace("14370", "9223372036854775807")),
    "a_position_of_more_than_64_bits.vcf": vcf(ROW.replace("14370", "9" * 30)),
    "genotypes_after_other_fields.vcf": vcf("1 5 . A G . . . DP:GT 3:0/1 4:0/0"),
    "an_info_of_latin1.vcf": vcf(ROW).replace(b"NS=3", b"NS=\xfc"),
    "no_title.fa": b">\nACGT\n",
    "no_letters.fa": b">one\n>two\nACGT\n",
    "a_title_alone.fa": b">one",
    "nothing_at_all.fa": b">\n",
    "comments.fa": b";a comment\n>one\nACGT\n;another\nACGT\n",
    "gaps.fa": b">one\nAC--GT..AC\n",
    "spaces.fa": b">one\nAC GT\n",
    "rna.fa": b">one\nACGUACGU\n",
    "stop_codons.fa": b">one\nACGT*\n",
    "old_mac.fa": FASTA.replace("\n", "\r").encode(),
    "byte_order_mark.fa": b"\xef\xbb\xbf" + FASTA.encode(),
    "a_name_twice.fa": b">one\nACGT\n>one\nACGT\n",
    "a_title_of_latin1.fa": b">caf\xe9\nACGT\n",
    "a_long_line.fa": b">one\n" + b"ACGT" * 50_000 + b"\n",
    "solexa_qualities.fq": b"@r1\nACGT\n+\n;<h~\n",
    "no_letters.fq": b"@r1\n\n+\n\n",
    "fasta_in_fastq.fq": b"@r1\nACGT\n+\nIIII\n>one\nACGT\n",
    "fastq_in_fasta.fa": b">one\nACGT\n@r1\nACGT\n+\nIIII\n",
    "garbage_after_gzip.fa.gz": gzip.compress(FASTA.encode()) + b"once upon a time",
}  # fmt: skip
