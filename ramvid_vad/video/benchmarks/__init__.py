"""Public benchmarks: finding them in a folder, reading their labels, masks and tracks, checking and preparing them.

found = find(BENCHMARKS["ped2"], "UCSD_Anomaly_Dataset.v1p2")
checked = check(BENCHMARKS["ped2"], found)
write_standard(BENCHMARKS["ped2"], found, checked, source, "data/ped2")
"""

from ramvid_vad.video.benchmarks.catalogue import BENCHMARKS, find, find_parts
from ramvid_vad.video.benchmarks.check import Checked, check, check_labels
from ramvid_vad.video.benchmarks.identify import LabelSetName, name_label_set
from ramvid_vad.video.benchmarks.model import Benchmark, Counts, Found, LabelSet, labels_digest
from ramvid_vad.video.benchmarks.standard import write_standard
