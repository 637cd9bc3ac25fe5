"""The paper's comparisons (Tables III-VI, IX-XI): what a row is, what it costs, and how ours is set beside print.

paper.py holds the rows, entry.py what a row is and its costs, statistics.py the intervals, measure.py time and memory,
markdown.py the table. components/compare.py fills them from finished runs.
"""

from dtcm.tables.entry import Counted, Entry, Table, agrees, choose, costs, own_input, substitute
from dtcm.tables.paper import TABLES

__all__ = ["TABLES", "Counted", "Entry", "Table", "agrees", "choose", "costs", "own_input", "substitute"]
