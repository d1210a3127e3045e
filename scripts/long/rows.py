"""Rows of a table in `docs/results`, which the scripts here append to, so that what is there is not run again."""


class Rows:
    """A file of tab-separated values whose first line names the columns."""

    def __init__(self, path, columns):
        self.path, self.columns = path, columns

    def known(self, columns):
        """What the first columns of each row say, so many of them."""
        rows = self.path.read_text().splitlines()[1:] if self.path.exists() else []
        return {tuple(row.split("\t")[:columns]) for row in rows}

    def note(self, *row):
        if not self.path.exists():
            self.path.write_text("\t".join(self.columns) + "\n")
        with self.path.open("a") as out:
            out.write("\t".join(map(str, row)) + "\n")
        print(*row, sep="\t", flush=True)
