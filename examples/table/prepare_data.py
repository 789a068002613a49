"""Writes scikit-learn's breast cancer data as data/breast_cancer.csv: 569 rows, 30 numeric columns, a text target."""

from pathlib import Path

from sklearn.datasets import load_breast_cancer

DATA = Path(__file__).parent / "data"


def main() -> None:
    """Write the file; a second run writes the same again."""
    cancer = load_breast_cancer(as_frame=True)
    table = cancer.data.assign(diagnosis=[cancer.target_names[number] for number in cancer.target])
    DATA.mkdir(exist_ok=True)
    table.to_csv(DATA / "breast_cancer.csv", index=False)
    print(f"{len(table)} rows in {DATA / 'breast_cancer.csv'}")


if __name__ == "__main__":
    main()
