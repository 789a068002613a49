"""Writes scikit-learn's wine data as data/wine.csv: 178 rows, 13 chemical measurements, the grower as target."""

from pathlib import Path

from sklearn.datasets import load_wine

DATA = Path(__file__).parent / "data"


def main() -> None:
    """Write the file; a second run writes the same again."""
    wine = load_wine(as_frame=True)
    table = wine.data.assign(grower=[str(wine.target_names[number]) for number in wine.target])
    DATA.mkdir(exist_ok=True)
    table.to_csv(DATA / "wine.csv", index=False)
    print(f"{len(table)} rows in {DATA / 'wine.csv'}")


if __name__ == "__main__":
    main()
