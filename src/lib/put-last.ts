/**
 * Puts an entry of a bounded map in its last place. Where every use is put last again, the first of the map is the one that was
 * not used for longest; it goes where there are more than `capacity`.
 */
export function putLast<K, V>(map: Map<K, V>, key: K, value: V, capacity: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > capacity && oldest !== undefined) map.delete(oldest);
}
