"""Names of genes for sites that are well known: those whose effect on a trait has been shown, by the rsID of dbSNP."""

GENES = {
    "rs2814778": "ACKR1",  # Duffy null: Tournamille et al. 1995, Nat Genet 10:224
    "rs3827760": "EDAR",  # hair and sweat glands: Kamberov et al. 2013, Cell 152:691
    "rs16891982": "SLC45A2",  # pigmentation: Norton et al. 2007, Mol Biol Evol 24:710
    "rs1426654": "SLC24A5",  # pigmentation: Lamason et al. 2005, Science 310:1782
    "rs12913832": "HERC2",  # eye colour, by way of OCA2: Sturm et al. 2008, Am J Hum Genet 82:424
    "rs1871534": "SLC39A4",  # zinc: Engelken et al. 2014, PLoS Genet 10:e1004128
    "rs1229984": "ADH1B",  # alcohol: Han et al. 2007, Am J Hum Genet 80:441
    "rs671": "ALDH2",  # alcohol: Yoshida et al. 1984, PNAS 81:258
    "rs17822931": "ABCC11",  # earwax: Yoshiura et al. 2006, Nat Genet 38:324
    "rs1800414": "OCA2",  # pigmentation: Edwards et al. 2010, PLoS Genet 6:e1000867
    "rs1042602": "TYR",  # pigmentation: Norton et al. 2007
}
