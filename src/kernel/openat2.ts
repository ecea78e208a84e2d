/** Numbers of openat2(2) that node:fs does not name. They are the same on x86-64 and arm64, which O_DIRECTORY, for one, is not. */
export const AT_FDCWD = -100;
export const O_PATH = 0o10000000;
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_NO_SYMLINKS = 0x04;
