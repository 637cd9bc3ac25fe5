"""From video files to clips: records and data sets, splits, decoding, the plan, transforms."""
