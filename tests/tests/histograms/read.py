"""Reads an interval log with HdrHistogram's Python implementation.

Standard input has ranks by tag (JSON); printed are, by tag, how many values there are, and the value at each of the ranks."""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

ranks = json.load(sys.stdin)
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1024, (1 << 37) - 1, 2))
found = {}
while (histogram := reader.get_next_interval_histogram()) is not None:
    n = histogram.get_total_count()
    found[histogram.get_tag()] = {
        "n": n,
        "values": [histogram.get_value_at_percentile(100 * rank / n) for rank in ranks[histogram.get_tag()]],
        "begin_ms": histogram.get_start_time_stamp(),
        "end_ms": histogram.get_end_time_stamp(),
    }
reader.close()
json.dump(found, sys.stdout)
