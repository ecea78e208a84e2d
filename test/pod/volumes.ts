/** Volumes of a pod, made on this machine's disk as the kubelet makes them. */
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { V1KeyToPath, V1PodSpec, V1Volume } from '@kubernetes/client-node';

/** The data of ConfigMaps and of Secrets, by name and key. */
export type Contents = Readonly<Record<string, Readonly<Record<string, string>>>>;

const DEFAULT_MODE = 0o644;
/** With an fsGroup, group members may do what the owner may, and what is made belongs to the group (SetVolumeOwnership). */
const GROUP_DIRECTORY = 0o2070;

/** @returns the directory of a volume */
export function makeVolume(base: string, volume: V1Volume, contents: Contents, spec: V1PodSpec): string {
  const { name, emptyDir, configMap, secret, persistentVolumeClaim } = volume;
  const fsGroup = spec.securityContext?.fsGroup;
  const place = join(base, name);
  mkdirSync(place, { recursive: true });
  if (emptyDir !== undefined) chmodSync(place, 0o777);
  else if (configMap !== undefined) fill(place, configMap, contents[configMap.name ?? ''], fsGroup);
  else if (secret !== undefined) fill(place, secret, contents[secret.secretName ?? ''], fsGroup);
  else if (persistentVolumeClaim === undefined)
    throw new Error(`volume ${name} is of a kind that nobody makes here`);
  if (fsGroup !== undefined) {
    chownSync(place, 0, fsGroup);
    chmodSync(place, (emptyDir === undefined ? 0o755 : 0o777) | GROUP_DIRECTORY);
  }
  return place;
}

/** Files behind two links, of which one is exchanged when the data change (AtomicWriter). */
function fill(
  place: string,
  { items, defaultMode = DEFAULT_MODE }: { items?: V1KeyToPath[]; defaultMode?: number },
  data: Readonly<Record<string, string>> | undefined,
  fsGroup: number | undefined,
): void {
  if (data === undefined) throw new Error(`nothing is known for ${place}`);
  const version = '..2026_01_01_00_00_00.000000001';
  mkdirSync(join(place, version));
  symlinkSync(version, join(place, '..data'));
  const files = items ?? Object.keys(data).map((key): V1KeyToPath => ({ key, path: key }));
  for (const { key, path, mode = defaultMode } of files) {
    const file = join(place, version, path);
    writeFileSync(file, data[key] ?? '');
    chmodSync(file, fsGroup === undefined ? mode : mode | 0o040);
    if (fsGroup !== undefined) chownSync(file, 0, fsGroup);
    symlinkSync(join('..data', path), join(place, path));
  }
}
