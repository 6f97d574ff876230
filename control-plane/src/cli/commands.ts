// The operator commands of `edgeloop`.
import type { Command } from 'commander';
import { registerApplyCommands } from './apply-command.ts';
import { addGlobalOptions } from './command.ts';
import { registerDataCommands } from './data-commands.ts';
import { registerFleetCommands } from './fleet-commands.ts';
import { registerAliasCommands, registerModelCommands } from './model-commands.ts';
import { registerMonitoringCommands } from './monitoring-commands.ts';
import { registerRolloutCommands } from './rollout-commands.ts';
import { registerTrainingCommands } from './training-commands.ts';

export function registerOperatorCommands(program: Command): void {
  addGlobalOptions(program);
  registerFleetCommands(program);
  registerModelCommands(program);
  registerAliasCommands(program);
  registerRolloutCommands(program);
  registerMonitoringCommands(program);
  registerApplyCommands(program);
  registerDataCommands(program);
  registerTrainingCommands(program);
}
