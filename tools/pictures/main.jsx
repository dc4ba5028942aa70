// ?board=fleet&prometheus=URL&end=T&seconds=N&worker=W: one board as it was at T.
import { EventBusSrv, createTheme, dateTime } from '@grafana/data';
import { GlobalStyles, PanelChrome, PanelContextProvider, ThemeContext } from '@grafana/ui';
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { framesOf, interpolated } from './frames.js';
import { KINDS, OURS } from './panels.jsx';

const WIDTH = 1600;
const [CELL, GAP] = [30, 8];
const asked = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: 'dark' } });

const seconds = Number(asked.get('seconds'));
const end = Math.floor(Number(asked.get('end')));
const around = { prometheus: asked.get('prometheus'), start: end - seconds, end, seconds, step: 1, window: '10s', worker: asked.get('worker') };
const [from, to] = [dateTime(around.start * 1000), dateTime(around.end * 1000)];
const range = { from, to, raw: { from, to } };

function Panel({ board, panel, frames }) {
  const { x, y, w, h } = panel.gridPos;
  const unit = (WIDTH - GAP) / 24;
  const place = { position: 'absolute', left: GAP + x * unit, top: GAP + y * (CELL + GAP), width: w * unit - GAP };
  if (panel.type === 'row') {
    return <div style={{ ...place, font: `500 16px ${theme.typography.fontFamily}`, lineHeight: `${CELL}px` }}>⌄ {interpolated(board, panel.title, around)}</div>;
  }
  const Kind = KINDS[panel.type];
  const height = h * (CELL + GAP) - GAP;
  const title = OURS.includes(panel.type) ? `${panel.title} (drawn without Grafana)` : panel.title;
  return (
    <div style={{ ...place, height }}>
      <PanelChrome title={title} width={w * unit - GAP} height={height}>
        {(width, inner) =>
          frames.some((one) => one.length > 0) || panel.type === 'stat' ? (
            <Kind {...{ panel, frames, range, theme, width, height: inner }} />
          ) : (
            <div style={{ lineHeight: `${inner}px`, textAlign: 'center' }}>No data</div>
          )
        }
      </PanelChrome>
    </div>
  );
}

function Board() {
  const [drawn, setDrawn] = useState(null);
  useEffect(() => {
    (async () => {
      const board = await (await fetch(`./boards/${asked.get('board')}.json`)).json();
      const frames = {};
      for (const panel of board.panels) {
        if (panel.type !== 'row') frames[panel.id] = await framesOf(board, panel, around, theme);
      }
      setDrawn({ board, frames });
    })().catch((error) => {
      document.title = `failed: ${error.message}`;
    });
  }, []);
  useEffect(() => {
    if (drawn) document.title = drawn.board.title;
  }, [drawn]);
  if (!drawn) return null;
  const rows = Math.max(...drawn.board.panels.map(({ gridPos: { y, h } }) => y + h));
  return (
    <div id="board" style={{ position: 'relative', width: WIDTH, height: GAP + rows * (CELL + GAP), background: theme.colors.background.canvas, color: theme.colors.text.primary }}>
      {drawn.board.panels.map((panel) => (
        <Panel key={panel.id} board={drawn.board} panel={panel} frames={drawn.frames[panel.id]} />
      ))}
    </div>
  );
}

createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <PanelContextProvider value={{ eventsScope: 'global', eventBus: new EventBusSrv() }}>
      <GlobalStyles />
      <Board />
    </PanelContextProvider>
  </ThemeContext.Provider>
);
