/** What a verb and an option of the command line are told by, and the options that many verbs have. */

export interface OptionDefinition {
  readonly name: string;
  /** One letter that stands for it too, after a single dash. */
  readonly short?: string;
  /** Placeholder of the value; a switch has none. */
  readonly value?: string;
  readonly repeatable?: boolean;
  readonly help: string;
}

export interface VerbDefinition {
  readonly name: string;
  readonly synopsis: string;
  readonly summary: string;
  readonly options: readonly OptionDefinition[];
  /** What may follow the options. */
  readonly operands: 'none' | 'one' | 'two' | 'some' | 'optional-command';
  /** Internal verbs are left out of help. */
  readonly hidden?: boolean;
}

export const SANDBOX: OptionDefinition = {
  name: 'sandbox',
  value: 'NAME',
  help: 'which running sandbox; may be left out when there is only one',
};
export const JSON_OUTPUT: OptionDefinition = { name: 'json', help: 'print JSON' };
