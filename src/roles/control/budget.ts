/** How long to wait after `bytes` were taken: 0 while the budget lasts. A debt is paid by waiting, so that what has come is never dropped. */
export function createBudget(
  { bytesPerSecond, burstBytes }: { readonly bytesPerSecond: number; readonly burstBytes: number },
  now: () => number = () => performance.now(),
): (bytes: number) => number {
  let left = burstBytes;
  let at = now();
  return (bytes) => {
    const before = at;
    at = now();
    left = Math.min(burstBytes, left + ((at - before) / 1000) * bytesPerSecond) - bytes;
    return left >= 0 ? 0 : (-left / bytesPerSecond) * 1000;
  };
}
