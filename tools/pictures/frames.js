// From a panel's queries to Grafana's data frames, with the panel's own units, limits and colours.
import {
  FieldType,
  getDisplayProcessor,
  getFieldDisplayName,
  standardTransformers,
  standardTransformersRegistry,
  toDataFrame,
  transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';

// By id, as one of them is exported under two names.
const transformers = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
standardTransformersRegistry.setInit(() =>
  [...transformers.values()].map((one) => ({ id: one.id, name: one.name, transformation: async () => one }))
);

// All values of every variable but worker, of which the drill-down shows one; windows fit a fleet
// that is minutes old.
export function interpolated(board, text, around) {
  const chosen = { __rate_interval: around.window, __range: `${around.seconds}s` };
  for (const one of board.templating.list) {
    if (one.type === 'query') chosen[one.name] = one.allValue ?? '.+';
  }
  if ('worker' in chosen) chosen.worker = around.worker;
  const names = Object.keys(chosen).sort((a, b) => b.length - a.length);
  return names.reduce((said, name) => said.replaceAll(`$${name}`, chosen[name]), text);
}

async function answered(board, target, around) {
  const fields = { query: interpolated(board, target.expr, around) };
  if (target.instant) fields.time = around.end;
  else Object.assign(fields, { start: around.start, end: around.end, step: around.step });
  const path = target.instant ? 'query' : 'query_range';
  const answer = await fetch(`${around.prometheus}/api/v1/${path}`, {
    method: 'POST',
    body: new URLSearchParams(fields),
  });
  const said = await answer.json();
  if (said.status !== 'success') throw new Error(`${target.expr}: ${said.error}`);
  return said.data.result;
}

function named(target, labels) {
  const form = target.legendFormat ?? '__auto';
  if (form !== '__auto') return form.replace(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] ?? '');
  return Object.values(labels).join(' ') || target.refId;
}

// One frame for each series, with a gap wherever Prometheus had no sample.
function seriesFrames(target, result, around) {
  return result.map(({ metric, values, value }) => {
    // No number is a gap too, as Grafana draws it.
    const numbered = (values ?? [value]).filter(([, said]) => !Number.isNaN(Number(said)));
    const samples = new Map(numbered.map(([at, said]) => [Math.round(at), Number(said)]));
    const times = [];
    if (value) times.push(Math.round(value[0]));
    else for (let at = around.start; at <= around.end; at += around.step) times.push(at);
    const numbers = times.map((at) => samples.get(at) ?? null);
    return toDataFrame({
      refId: target.refId,
      name: named(target, metric),
      fields: [
        { name: 'Time', type: FieldType.time, values: times.map((at) => at * 1000) },
        {
          name: named(target, metric),
          type: FieldType.number,
          values: numbers,
          labels: metric,
          config: { displayName: named(target, metric) },
        },
      ],
    });
  });
}

function tableFrame(target, result, several) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const value = several ? `Value #${target.refId}` : 'Value';
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: result.map((one) => one.value[0] * 1000) },
      ...labels.map((name) => ({
        name,
        type: FieldType.string,
        values: result.map(({ metric }) => metric[name] ?? ''),
      })),
      { name: value, type: FieldType.number, values: result.map((one) => Number(one.value[1])) },
    ],
  });
}

function put(config, path, value) {
  const parts = path.split('.');
  const last = parts.pop();
  let at = config;
  for (const part of parts) at = at[part] = { ...at[part] };
  at[last] = value;
}

function matches(matcher, frame, field, frames) {
  if (matcher.id === 'byFrameRefID') return frame.refId === matcher.options;
  const name = getFieldDisplayName(field, frame, frames);
  if (matcher.id === 'byName') return name === matcher.options;
  if (matcher.id === 'byRegexp') return new RegExp(matcher.options.replace(/^\/|\/$/g, '')).test(name);
  throw new Error(`an override by ${matcher.id} is not drawn yet`);
}

function lowest(thresholds) {
  const steps = thresholds.steps.map((one) => ({ ...one, value: one.value ?? -Infinity }));
  return { ...thresholds, steps };
}

// What Grafana's core does with defaults and overrides; the packages leave its registry empty.
function configured(panel, frames, theme) {
  const { defaults, overrides } = panel.fieldConfig;
  let index = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      if (field.type === FieldType.time) {
        field.display = getDisplayProcessor({ field, theme });
        continue;
      }
      const config = structuredClone({ ...defaults, displayName: field.config.displayName });
      for (const { matcher, properties } of overrides) {
        if (!matches(matcher, frame, field, frames)) continue;
        for (const { id, value } of properties) put(config, id, value);
      }
      if (config.thresholds) config.thresholds = lowest(config.thresholds);
      field.config = config;
      field.state = { ...field.state, seriesIndex: index++ };
      field.display = getDisplayProcessor({ field, theme });
    }
  }
  return frames;
}

export async function framesOf(board, panel, around, theme) {
  const results = await Promise.all(panel.targets.map((one) => answered(board, one, around)));
  let frames = panel.targets.flatMap((target, n) =>
    target.format === 'table'
      ? [tableFrame(target, results[n], panel.targets.length > 1)]
      : seriesFrames(target, results[n], around)
  );
  if (panel.transformations?.length) {
    const context = { interpolate: (text) => text };
    frames = await firstValueFrom(transformDataFrame(panel.transformations, frames, context));
  }
  return configured(panel, frames, theme);
}
