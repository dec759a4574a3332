"""S3 and what speaks like it: objects below a bucket's prefix, folders of them, and a cache on this machine.

`client` is the only module that knows the vendor's library. `folders` says how a folder that appears whole or not at
all is kept in a store that has only objects; `cache` holds copies, checked by digest and bounded in size.
"""

from ml_platform.kit.s3.address import SCHEME, S3Address, S3AddressError, S3Connection

__all__ = ["SCHEME", "S3Address", "S3AddressError", "S3Connection"]
