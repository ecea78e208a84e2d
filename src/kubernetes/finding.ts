/** Something about a pod that its operator should change. */
export interface Finding {
  readonly rule: string;
  /** The container, or `pod`. */
  readonly where: string;
  /** Of the field, from the top of its document. */
  readonly path: string;
  readonly why: string;
  readonly remedy: string;
}
