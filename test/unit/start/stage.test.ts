import { describe, expect, it } from 'vitest';
import type { SignalName } from '../../../src/config/surroundings.ts';
import { PROCESS_ROLE_STAGES, SIDECAR_STAGES, type StagePlan } from '../../../src/start/plan.ts';
import { StartInterrupted, stageRunner } from '../../../src/start/stage.ts';

/** The stages that ran, of a start that is asked to end while `during` runs. */
async function ran(plan: StagePlan, during: string): Promise<string[]> {
  let asked: SignalName | undefined;
  const stage = stageRunner(plan, () => asked);
  const names: string[] = [];
  for (const [name] of plan)
    try {
      await stage(name, () => {
        names.push(name);
        if (name === during) asked = 'SIGTERM';
      });
    } catch (error) {
      expect(error).toBeInstanceOf(StartInterrupted);
      return names;
    }
  return names;
}

describe('a start that is asked to end', () => {
  const namesOf = (plan: StagePlan) => plan.map(([name]) => name);
  const before = namesOf(PROCESS_ROLE_STAGES).slice(0, -2);

  it.each(before)('during %s goes no further', async (name) => {
    expect(await ran(PROCESS_ROLE_STAGES, name)).toEqual(before.slice(0, before.indexOf(name) + 1));
  });

  it('while the command is launched leaves the end to the command', async () => {
    expect(await ran(PROCESS_ROLE_STAGES, 'launch')).toEqual(namesOf(PROCESS_ROLE_STAGES));
  });

  it('goes no further where no command is launched', async () => {
    expect(await ran(SIDECAR_STAGES, 'control-socket')).toEqual(namesOf(SIDECAR_STAGES).slice(0, -1));
  });
});
