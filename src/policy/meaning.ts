/** What a policy means, in words: for people who check it, and to tell two apart. */
import type {
  BinaryPattern,
  CredentialUse,
  Endpoint,
  NetworkRule,
  PolicyDocument,
  RequestPattern,
  ValuePattern,
} from './document.ts';

/** What a policy grants, a line each, in its one form. */
export function meaningOf(policy: PolicyDocument): string[] {
  const { filesystem, landlock, process, seccomp, network } = policy;
  return [
    `run as        ${process.runAsUser ?? '(default)'}:${process.runAsGroup ?? '(default)'}`,
    `landlock      ${landlock.compatibility}`,
    ...(landlock.bindPorts === undefined
      ? []
      : [`bind          TCP ${landlock.bindPorts.join(', ') || 'none'}`]),
    ...(landlock.connectPorts === undefined
      ? []
      : [`connect       TCP ${landlock.connectPorts.join(', ') || 'none'}`]),
    ...seccomp.relax.map((group) => `relax         ${group}`),
    ...filesystem.readOnly.map((path) => `read          ${path}`),
    ...filesystem.readWrite.map((path) => `read, write   ${path}`),
    ...(filesystem.includeWorkdir ? ['read, write   (the working directory)'] : []),
    ...network.flatMap(ruleMeaning),
  ];
}

/** What one rule grants, a line each. */
export function ruleMeaning(rule: NetworkRule): string[] {
  return rule.endpoints.flatMap((endpoint) => endpointLines(rule, endpoint));
}

function endpointLines({ name: rule, binaries, expires }: NetworkRule, endpoint: Endpoint): string[] {
  const name = expires === undefined ? rule : `${rule}, until ${new Date(expires).toISOString()}`;
  const { host, ports, allowedIps, protocol, inspection, tlsAuthority, allowsEncryptedHello, credentials } =
    endpoint;
  const programs = binaries.map(binaryText).join(', ') || 'nobody';
  const addresses = allowedIps.length === 0 || host === '' ? '' : ` at ${allowedIps.join(', ')}`;
  const destination = `${host === '' ? allowedIps.join(',') : host}:${ports.join(',')}`;
  const about =
    protocol === ''
      ? ''
      : ` as ${protocol}${inspection?.path === undefined ? '' : ` below ${inspection.path}`}`;
  const audit = inspection?.enforcement === 'audit' ? ', audit only' : '';
  const trust =
    tlsAuthority === undefined
      ? ''
      : `, certified by ${tlsAuthority.path} (${tlsAuthority.digest.slice(0, 19)})`;
  const hidden = allowsEncryptedHello ? ', may hide its name' : '';
  return [
    `connect       ${destination}${addresses}${about}${audit}${trust}${hidden} by ${programs}  (${name})`,
    ...(credentials === undefined
      ? []
      : [`  credentials ${destination} ${credentialText(credentials)}  (${name})`]),
    ...(inspection?.deny ?? []).map(
      (pattern) => `  refuse      ${destination} ${patternText(pattern)}  (${name})`,
    ),
    ...(inspection?.allow ?? []).map(
      (pattern) => `  allow       ${destination} ${patternText(pattern)}  (${name})`,
    ),
    ...(inspection?.allowKnownMethods ? [`  allow       ${destination} every known method  (${name})`] : []),
  ];
}

function binaryText({ path, sha256 }: BinaryPattern): string {
  return sha256 === undefined ? path : `${path}@sha256:${sha256.toSorted().join('|')}`;
}

function credentialText(use: CredentialUse): string {
  const { provider, signing, clientCertificate } = use;
  return [
    provider && `of ${provider}`,
    use.rewriteBody && 'also in bodies',
    use.rewriteWebSocket && 'also in WebSocket messages',
    use.allowCleartext && 'also without TLS',
    use.allowUninspected && 'placeholders pass in bodies',
    signing &&
      `signed (${signing.payload}) for ${signing.service} in ${signing.region ?? 'the region of the host'}`,
    clientCertificate && `client certificate ${clientCertificate}`,
  ]
    .filter(Boolean)
    .join(', ');
}

function patternText(pattern: RequestPattern): string {
  switch (pattern.kind) {
    case 'http':
      return [
        pattern.method ?? '*',
        pattern.path ?? '**',
        ...pattern.query.map((value) => `?${valueText(value)}`),
      ].join(' ');
    case 'graphql': {
      const { operationType = '*', operationName, fields } = pattern;
      return [operationType, operationName ?? '', fields.length === 0 ? '' : `{${fields.join(' ')}}`]
        .filter(Boolean)
        .join(' ');
    }
    case 'rpc': {
      const { method = '*', tool, arguments: values } = pattern;
      return [method, tool.join('|'), ...values.map(valueText)].filter(Boolean).join(' ');
    }
  }
}

function valueText({ key, any }: ValuePattern): string {
  return `${key}=${any.join('|')}`;
}
