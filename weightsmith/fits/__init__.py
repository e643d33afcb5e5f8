"""Will this checkpoint load there, and how much context fits? Told from headers, before a download or a crash.

`asks` says what the checkpoint needs, `target` where it is to run, `loads` what stands between them, `caches` and
`weights` how many bytes each card holds; `answer` puts them together.
"""
