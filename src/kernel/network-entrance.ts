import type { ListenerDescriptors } from '../roles/message.ts';

/** Where the network role meets a sandbox: sockets born in its network namespace, and what tells who is behind a connection. */
export interface NetworkEntrance {
  readonly listeners: ListenerDescriptors;
  /** A NETLINK_SOCK_DIAG socket born inside. */
  readonly diag: number;
  /** Inode of the network namespace, as /proc/pid/ns/net shows it. */
  readonly inode: string;
  /** Closes this process's listeners and NFLOG socket, once the network role has its own. */
  closeListeners(): void;
}
