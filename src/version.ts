/** Kept equal to package.json by a test. */
export const VERSION = '0.1.0';
/** Of this version; the manual page carries it. */
export const VERSION_DATE = '2026-11-25';
