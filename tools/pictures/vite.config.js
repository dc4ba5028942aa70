// A page that any folder can hold; Grafana's packages ask for process.env as Node would have it.
export default { base: './', define: { 'process.env': '{}' }, esbuild: { jsx: 'automatic' } };
