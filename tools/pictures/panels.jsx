// Grafana's own components for each kind of panel, and two that its packages do not contain.
import { FieldType, getFieldDisplayName, reduceField } from '@grafana/data';
import { BarGauge, BigValue, Table, TimeSeries } from '@grafana/ui';

const numbers = (frames) =>
  frames.flatMap((frame) => frame.fields.filter((one) => one.type === FieldType.number).map((field) => ({ frame, field })));

function shown({ field, frame }, panel, frames) {
  const [calc] = panel.options.reduceOptions.calcs;
  const value = field.display(reduceField({ field, reducers: [calc] })[calc]);
  return { ...value, title: frames.length > 1 ? getFieldDisplayName(field, frame, frames) : undefined };
}

function Stat({ panel, frames, width, height, theme }) {
  const { options, fieldConfig } = panel;
  const found = numbers(frames);
  const values = found.length
    ? found.map((one) => ({ value: shown(one, panel, frames), field: one.field, frame: one.frame }))
    : [{ value: { text: fieldConfig.defaults.noValue ?? 'No data', numeric: NaN, color: theme.colors.text.primary } }];
  return (
    <div style={{ display: 'flex' }}>
      {values.map(({ value, field, frame }, n) => (
        <BigValue
          key={n}
          value={value}
          sparkline={options.graphMode === 'area' && frame?.length > 1 ? { y: field, x: frame.fields[0] } : undefined}
          width={width / values.length}
          height={height}
          colorMode={options.colorMode}
          graphMode={options.graphMode}
          textMode={options.textMode}
          justifyMode={options.justifyMode}
          theme={theme}
        />
      ))}
    </div>
  );
}

function Bars({ panel, frames, width, height, theme }) {
  const found = numbers(frames);
  const values = found.map((one) => shown(one, panel, frames));
  const top = Math.max(1e-9, ...values.map((one) => one.numeric || 0));
  const each = Math.max(18, Math.min(46, height / Math.max(1, values.length) - 6));
  return values.map((value, n) => (
    <div key={n} style={{ marginBottom: 6 }}>
      <BarGauge
        value={{ ...value, title: getFieldDisplayName(found[n].field, found[n].frame, frames) }}
        field={{ ...found[n].field.config, min: 0, max: top }}
        display={found[n].field.display}
        orientation="horizontal"
        displayMode={panel.options.displayMode}
        showUnfilled={panel.options.showUnfilled}
        width={width}
        height={each}
        theme={theme}
      />
    </div>
  ));
}

function Lines({ panel, frames, width, height, range }) {
  const { legend } = panel.options;
  return (
    <TimeSeries
      frames={frames}
      timeRange={range}
      timeZone="browser"
      width={width}
      height={height}
      legend={{ ...legend, displayMode: 'list', calcs: [] }}
    >
      {() => null}
    </TimeSeries>
  );
}

const Rows = ({ frames, width, height }) => <Table data={frames[0]} width={width} height={height} />;

// Not Grafana's: its state timeline and heatmap live in its core, and no package has them.
function Strips({ frames, width, height, range, theme }) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const left = Math.min(150, width / 4);
  const found = numbers(frames);
  const each = Math.min(26, (height - 18) / Math.max(1, found.length));
  const x = (at) => left + ((at - from) / (to - from)) * (width - left);
  return (
    <svg width={width} height={height} fontFamily={theme.typography.fontFamily} fontSize={11}>
      {found.map(({ field, frame }, row) => {
        const times = frame.fields[0].values;
        const pieces = [];
        field.values.forEach((value, n) => {
          if (value === null) return;
          const before = pieces.at(-1);
          if (before?.value === value && before.last === n - 1) before.last = n;
          else pieces.push({ value, first: n, last: n });
        });
        return (
          <g key={row}>
            <text x={left - 8} y={row * each + each * 0.65} textAnchor="end" fill={theme.colors.text.primary}>
              {getFieldDisplayName(field, frame, frames)}
            </text>
            {pieces.map(({ value, first, last }) => {
              const said = field.display(value);
              const begin = x(times[first]);
              const end = x(times[Math.min(last + 1, times.length - 1)]);
              return (
                <g key={first}>
                  <rect x={begin} y={row * each + 1} width={Math.max(1, end - begin)} height={each - 3} fill={said.color} opacity={0.85} />
                  {end - begin > 60 && (
                    <text x={begin + 5} y={row * each + each * 0.65} fill="#111">
                      {said.text}
                    </text>
                  )}
                </g>
              );
            })}
          </g>
        );
      })}
      {[0, 0.25, 0.5, 0.75].map((part) => (
        <text key={part} x={left + part * (width - left)} y={height - 3} fill={theme.colors.text.secondary}>
          {new Date(from + part * (to - from)).toLocaleTimeString('en-GB')}
        </text>
      ))}
    </svg>
  );
}

function Heat({ frames, width, height, range, theme }) {
  const rows = numbers(frames)
    .map(({ field, frame }) => ({ le: Number(field.labels.le.replace('+Inf', 'Infinity')), field, frame }))
    .sort((a, b) => a.le - b.le);
  const cells = rows.map((row, n) =>
    row.field.values.map((value, at) => Math.max(0, (value ?? 0) - (n ? (rows[n - 1].field.values[at] ?? 0) : 0)))
  );
  const used = cells.map((row, n) => (row.some((one) => one > 0) ? n : -1)).filter((n) => n >= 0);
  const [low, high] = [Math.max(0, (used[0] ?? 0) - 1), Math.min(rows.length - 1, (used.at(-1) ?? 0) + 1)];
  const left = 60;
  const each = (height - 18) / (high - low + 1);
  const top = Math.max(...cells.flat(), 1e-9);
  const times = rows[0]?.frame.fields[0].values ?? [];
  const wide = (width - left) / Math.max(1, times.length);
  const format = (le) => (le === Infinity ? '+Inf' : `${le} s`);
  return (
    <svg width={width} height={height} fontFamily={theme.typography.fontFamily} fontSize={11}>
      {rows.slice(low, high + 1).map(({ le }, n) => (
        <g key={le}>
          <text x={left - 8} y={height - 18 - n * each - each / 3} textAnchor="end" fill={theme.colors.text.secondary}>
            {format(le)}
          </text>
          {cells[low + n].map((value, at) =>
            value > 0 ? (
              <rect
                key={at}
                x={left + at * wide}
                y={height - 18 - (n + 1) * each}
                width={Math.max(1, wide - 0.5)}
                height={each - 1}
                fill={`hsl(28 90% ${30 + 45 * Math.sqrt(value / top)}%)`}
              />
            ) : null
          )}
        </g>
      ))}
      {[0, 0.33, 0.66].map((part) => (
        <text key={part} x={left + part * (width - left)} y={height - 3} fill={theme.colors.text.secondary}>
          {new Date(range.from.valueOf() + part * (range.to.valueOf() - range.from.valueOf())).toLocaleTimeString('en-GB')}
        </text>
      ))}
    </svg>
  );
}

export const KINDS = { stat: Stat, bargauge: Bars, timeseries: Lines, table: Rows, 'state-timeline': Strips, heatmap: Heat };
export const OURS = ['state-timeline', 'heatmap'];
