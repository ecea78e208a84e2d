/** The webhook as a whole: a certificate that is followed, a server that serves with it, and reviews. */
import type { AddressInfo } from 'node:net';
import type { ListenAddress } from '../config/listen-address.ts';
import type { WebhookConfiguration } from '../kubernetes/webhook/configuration.ts';
import { type CertificateFiles, openCertificate } from './certificate.ts';
import { type ApiServer, openNamespaces } from './namespaces.ts';
import { answerReview, MUTATION, type Question, VALIDATION } from './review.ts';
import { openReviewServer, type ReviewServer } from './server.ts';

/** Where the API server is told to ask. */
export const MUTATE_PATH = '/mutate';
export const VALIDATE_PATH = '/validate';

export interface WebhookOptions {
  readonly files: CertificateFiles;
  readonly listen: ListenAddress;
  readonly configuration: WebhookConfiguration;
  /** Undefined: namespaces cannot be read, and pods that need it are refused. */
  readonly apiServer: ApiServer | undefined;
  readonly tell: (line: string) => void;
  readonly now: () => number;
}

export interface Webhook extends AsyncDisposable {
  readonly address: AddressInfo;
  /** Whether an API server can be served: with a certificate that is in its time. */
  isReady(): boolean;
  /** Takes nothing new, lets what is under way be answered, and gives up on it after `ms`. */
  drain(ms: number): Promise<void>;
}

/** @throws CastellanError `usage`, `address_in_use` */
export async function openWebhook(options: WebhookOptions): Promise<Webhook> {
  const { files, listen, apiServer, tell, now } = options;
  await using opened = new AsyncDisposableStack();
  let server: ReviewServer | undefined;
  const certificate = opened.use(
    await openCertificate(files, { replaced: (credentials) => server?.replace(credentials), tell, now }),
  );
  const namespaces = apiServer === undefined ? undefined : openNamespaces(apiServer, now);
  const answers = (question: Question) => (body: string) =>
    answerReview(body, question, { ...options, namespaces });
  const { credentials } = certificate;
  const paths = new Map([
    [MUTATE_PATH, answers(MUTATION)],
    [VALIDATE_PATH, answers(VALIDATION)],
  ]);
  const listening = opened.use(await openReviewServer({ listen, credentials, paths, tell }));
  server = listening;
  // What was replaced while it was made.
  listening.replace(certificate.credentials);
  const kept = opened.move();
  return {
    address: listening.address,
    isReady: () => certificate.isValid(),
    drain: (ms) => listening.drain(ms),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
