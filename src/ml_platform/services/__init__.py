"""One slice per capability. Slices know kit, contracts and each other's public faces, never a vendor."""
