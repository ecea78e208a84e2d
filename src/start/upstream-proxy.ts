import type { Report } from '../audit/event.ts';
import type { UpstreamProxy } from '../config/upstream-proxy.ts';
import { formatAuthority } from '../egress/accept/authority.ts';

/** Tells which way connections leave, and what a proxy that looks names up itself takes away. */
export function reportUpstreamProxy(proxy: UpstreamProxy | undefined, report: Report): void {
  if (proxy === undefined) return;
  const { scheme, host, port, exceptions, byHostName } = proxy;
  const but = exceptions.length === 0 ? '' : `, but for ${exceptions.length} exceptions`;
  report({
    kind: 'control-applied',
    control: 'upstream-proxy',
    detail: `origins are reached through ${scheme}://${formatAuthority({ host, port })}${but}`,
  });
  if (byHostName)
    report({
      kind: 'control-degraded',
      control: 'upstream-proxy',
      reason:
        'the proxy is told names and looks them up itself: it may connect to other addresses than those that were checked',
      remedy: 'leave out --upstream-proxy-connect-by-hostname where the proxy takes addresses',
    });
}
