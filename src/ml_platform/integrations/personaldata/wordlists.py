"""Words by which columns of names and of streets are told from other text. Short on purpose: a column is judged, not a value."""

from typing import Final

GIVEN_NAMES: Final = frozenset(
    """
    adam adrian ahmed aisha alan albert alejandro alex alexander alexandra ali alice alicia alison amanda amelia
    amy ana andrea andreas andrew angela anita ann anna anne anthony antonio arthur astrid barbara beatriz ben
    benjamin bernd bianca bob boris brandon brenda brian bruno camille carl carla carlos carmen carol caroline
    catherine charles chiara chloe chris christian christina christine christopher claire clara claudia colin
    cynthia daniel daniela david deborah denise dennis diana diane diego dieter dmitri donald donna doris dorothy
    edward elena elias elisabeth elizabeth ella ellen emily emma eric erik erika esther eva evelyn fatima felix
    fernando florian francesca francesco francisco frank frederik gabriel gabriela gary george gerald gerhard
    giulia giuseppe gloria grace greg gregory hannah hans harold harry hassan heather heidi heinz helen helena
    henry hugo ian ibrahim ines ingrid irene isabel isabella ivan jack jacob jacqueline jakob james jan jane
    janet jason javier jean jeffrey jennifer jens jeremy jessica joan joao johann johannes john jonas jonathan
    jorge jose joseph joshua juan juana judith julia julian julie karen karin karl katarzyna kate katherine
    kathleen katja keith kelly kenneth kevin klaus krzysztof kyle lars larry laura lea lena leon leonie lisa
    louis louise luca lucas lucia luis luisa lukas madison magdalena manuel marc marcel marco marcus margaret
    maria marie marina mario marion mark markus marta martha martin martina mary mateo matteo matthew matthias
    max maximilian megan mehmet melanie melissa michael michel michelle miguel mike mohamed mohammed monica
    monika nadia nancy natalia natalie nathan nicholas nicole nicolas nina noah nora olga oliver olivia omar oscar
    pablo pamela patricia patrick paul paula pedro peter petra philip philipp pierre piotr priya rachel rafael
    rahul ralf ralph raymond rebecca renate ricardo richard robert roberto robin roger roland ronald rosa ruth
    ryan sabine samantha samuel sandra sara sarah scott sean sebastian sergio sharon simon sofia sophia sophie
    stefan stefanie stephanie stephen steven susan susanne svetlana sven tatiana teresa theresa thomas tim
    timothy tobias tom tomas tyler ulrike ursula uwe valentina vanessa vera veronica victor victoria vincent
    vladimir walter wei werner william wolfgang xavier yasmin yuki yusuf zoe
    """.split()  # noqa: SIM905 - three hundred quoted words would be unreadable
)

STREETS: Final = frozenset(
    """
    street st road rd avenue ave lane ln drive dr boulevard blvd court ct square sq terrace highway hwy way place
    strasse straße str gasse platz allee weg rue chemin impasse via viale piazza calle avenida plaza rua travessa
    ulica ul straat laan gatan vej gate
    """.split()  # noqa: SIM905
)
