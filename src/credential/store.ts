/** The secrets of a run, in the memory of the network role alone, and what may be asked of them. */
import { HostIndex } from '../policy/match/host.ts';
import {
  type BoundEndpoint,
  type ClientCertificate,
  type Credential,
  type CredentialSet,
  fits,
  type Place,
} from './credential.ts';
import type { Placeholder } from './placeholder.ts';
import { createRedactor } from './redact.ts';

/** Where a request goes. */
export interface Destination {
  readonly host: string;
  readonly port: number;
  /** That the policy binds to the endpoint. */
  readonly provider: string | undefined;
  /** The path in every way a server may read it; undefined where it cannot be read in one. Asked only where a path matters. */
  readonly paths: () => readonly string[] | undefined;
}

export type Found =
  | { readonly ok: true; readonly value: string; readonly name: string }
  /** `unavailable`: there is no such secret, or none any more. `unbound`: it may not go there. */
  | { readonly ok: false; readonly problem: 'unavailable' | 'unbound'; readonly detail: string };

interface Indexed {
  readonly byName: ReadonlyMap<string, Credential>;
  readonly hosts: HostIndex<Bound[]>;
  readonly redact: (text: string) => string;
  readonly clientCertificates: CredentialSet['clientCertificates'];
}

interface Bound {
  readonly credential: Credential;
  readonly endpoint: BoundEndpoint;
}

export class CredentialStore {
  readonly #now: () => number;
  #current: Indexed;

  constructor(set: CredentialSet, now: () => number = Date.now) {
    this.#now = now;
    this.#current = indexed(set);
  }

  /** Puts other secrets in the place of all. Placeholders name them as before. */
  replace(set: CredentialSet): void {
    this.#current = indexed(set);
  }

  /** The secret that the placeholder stands for, if it may go there in that part of a request. */
  resolve(placeholder: Placeholder, destination: Destination, place: Place): Found {
    const credential = this.#current.byName.get(placeholder.name);
    if (
      credential === undefined ||
      (placeholder.handle !== undefined && placeholder.handle !== credential.handle)
    )
      return unavailable(`no credential is known by the name ${placeholder.name}`);
    const { name, value } = credential;
    if (!this.mayUse(name, destination))
      return unbound(`the credential ${name} may not go to ${destination.host}:${destination.port}`);
    if (!fits(credential, place))
      return unbound(`the credential ${name} may not go into this part of a request (${place})`);
    if (credential.expiresAt !== undefined && credential.expiresAt <= this.#now())
      return unavailable(`the credential ${name} has expired`);
    return { ok: true, value, name };
  }

  /** By its own endpoints, or by the provider that the policy binds. */
  mayUse(name: string, { host, port, provider, paths }: Destination): boolean {
    const credential = this.#current.byName.get(name);
    if (credential === undefined) return false;
    if (credential.provider !== undefined && credential.provider === provider) return true;
    return this.#boundAt(host, port).some(({ credential: { name: bound }, endpoint: { path } }) => {
      if (bound !== name) return false;
      return path === undefined || (paths()?.every((each) => path.matches(each)) ?? false);
    });
  }

  /** Whether some credential names the destination, so that requests there have to be read. */
  opens(host: string, port: number): boolean {
    return this.#boundAt(host, port).length > 0;
  }

  /** Whether a credential has the name. */
  has(name: string): boolean {
    return this.#current.byName.has(name);
  }

  clientCertificate(name: string): ClientCertificate | undefined {
    return this.#current.clientCertificates.get(name);
  }

  /** The text with neither secrets nor placeholders in it, for records. */
  redact(text: string): string {
    return this.#current.redact(text);
  }

  #boundAt(host: string, port: number): Bound[] {
    return this.#current.hosts
      .find(host)
      .flat(2)
      .filter(({ endpoint }) => endpoint.port === port);
  }
}

function indexed({ credentials, clientCertificates }: CredentialSet): Indexed {
  const hosts = new HostIndex<Bound[]>();
  for (const credential of credentials)
    for (const endpoint of credential.endpoints)
      hosts.entry(endpoint.host, () => []).push({ credential, endpoint });
  return {
    byName: new Map(credentials.map((credential) => [credential.name, credential])),
    hosts,
    redact: createRedactor(credentials.map(({ value }) => value)),
    clientCertificates,
  };
}

function unavailable(detail: string): Found {
  return { ok: false, problem: 'unavailable', detail };
}

function unbound(detail: string): Found {
  return { ok: false, problem: 'unbound', detail };
}
