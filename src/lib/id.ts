/** 4294967295 is (uid_t)-1, which setresuid(2) reads as "leave unchanged". */
export const MAX_ID = 4_294_967_294;

/** A decimal uid or gid without sign or leading zeros; undefined for anything else, the reserved -1 included. */
export function parseId(text: string): number | undefined {
  if (!/^(0|[1-9]\d{0,9})$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}
