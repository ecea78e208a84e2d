/** Files with secrets in them, by the option that names each. */
export const SECRET_FILE_OPTIONS = {
  credentials: 'credentials',
  inferenceRoutes: 'inference-routes',
  upstreamProxyAuth: 'upstream-proxy-auth-file',
} as const;
export type SecretFileName = keyof typeof SECRET_FILE_OPTIONS;
export const SECRET_FILE_NAMES = Object.keys(SECRET_FILE_OPTIONS) as readonly SecretFileName[];
