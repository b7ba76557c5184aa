"""From raw files of ratings to sparse matrices, in blocks and without a Python step per row.

options      how the user says to read: delimiter, columns, header, encoding
zstd         unpacking zstd piece by piece
sources      names, globs and stdin -> streams of bytes, decompressed and hashed on the way
records      the exact, slow reader of delimited text: samples, odd quoting, line numbers of errors
detection    a sample -> delimiter, header, columns
blocks       a stream -> UTF-8 blocks that end where a row ends
numbers      text -> ratings and timestamps
parsing      a block -> checked columns; every bad row is found here
parquet      the same for Parquet
ids          ids -> indexes in order of first appearance
table        sources -> one table of ratings
matrix       the table -> a CSR matrix; duplicates, minimum counts
titles       a file of titles -> one title for every item
"""
