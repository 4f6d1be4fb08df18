"""The relay plane in the kernel under other kernels than this machine's.

``python -m tests.kernels linux-image-amd64 DIRECTORY`` boots each in a virtual machine that has
this machine's file system, which it cannot change: a Debian package is fetched and unpacked, never
installed; a directory is one where somebody has unpacked a kernel and its modules.
"""
