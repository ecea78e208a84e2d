/** Going over the containers of a pod, with where each stands. */
import type { V1Container, V1EphemeralContainer, V1PodSpec } from '@kubernetes/client-node';

export interface PlacedContainer {
  readonly container: V1Container | V1EphemeralContainer;
  readonly kind: 'init' | 'main' | 'ephemeral';
  /** Within the pod, as `spec.containers[0]`. */
  readonly path: string;
}

/** In the order in which they start: init containers one after the other, then the rest. */
export function placedContainers(spec: V1PodSpec): PlacedContainer[] {
  const place = (kind: PlacedContainer['kind'], key: string, list: readonly V1Container[] = []) =>
    list.map((container, index) => ({ container, kind, path: `spec.${key}[${index}]` }));
  return [
    ...place('init', 'initContainers', spec.initContainers),
    ...place('main', 'containers', spec.containers),
    ...place('ephemeral', 'ephemeralContainers', spec.ephemeralContainers),
  ];
}

/** An init container that goes on running beside the others. */
export function isNativeSidecar({ container, kind }: PlacedContainer): boolean {
  return kind === 'init' && container.restartPolicy === 'Always';
}

const DEFAULT_MESSAGE_PATH = '/dev/termination-log';

/** Everything that Kubernetes mounts into a container because the pod says so: each hides what the image has there. */
export function mountedPaths({
  volumeMounts = [],
  volumeDevices = [],
  terminationMessagePath = DEFAULT_MESSAGE_PATH,
}: V1Container | V1EphemeralContainer): {
  readonly path: string;
  readonly field: string;
  readonly volume?: string;
}[] {
  return [
    ...volumeMounts.map(({ name, mountPath }, index) => ({
      path: mountPath,
      field: `volumeMounts[${index}].mountPath`,
      volume: name,
    })),
    ...volumeDevices.map(({ name, devicePath }, index) => ({
      path: devicePath,
      field: `volumeDevices[${index}].devicePath`,
      volume: name,
    })),
    // A file that may be written, over whatever is there.
    ...(terminationMessagePath === DEFAULT_MESSAGE_PATH
      ? []
      : [{ path: terminationMessagePath, field: 'terminationMessagePath' }]),
  ];
}
