"""What the page of language models adds to the common style sheet."""

LANGUAGE_STYLE = """
.headlines{grid-template-columns:repeat(auto-fit,minmax(12.4rem,1fr))}
dl.done{display:grid;grid-template-columns:minmax(7rem,max-content) minmax(0,46rem);gap:.45rem 1.6rem;margin:1rem 0 0}
dl.done dt{font-weight:600}
dl.done dd{margin:0}
.figures{margin-top:1.6rem}
.figures h3{margin-top:0}
.figures>div{min-width:0}
h3+.scroll{margin-top:.6rem}
td.strong{font-weight:600}
td.strong small{font-weight:400}
.n small{margin-left:auto}
tbody th a{color:inherit}
.of-concept{margin:0;border-top:1px solid var(--rule);padding:.55rem 0}
.of-concept:last-of-type{border-bottom:1px solid var(--rule)}
.of-concept>summary b{font-weight:600;margin-right:.8rem}
.of-concept>summary small{color:var(--muted);font-size:.8125rem}
.of-concept[open]{padding-bottom:1.6rem}
.of-concept span[id]{display:block;scroll-margin-top:3rem}
.compared{margin-top:1.1rem}
p.prompt{margin:0 0 .5rem;display:flex;flex-wrap:wrap;gap:.1rem .8rem;align-items:baseline}
p.prompt b{font-weight:600}
p.prompt span{color:var(--muted);font-size:.8125rem}
.side{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));gap:.7rem 1.1rem}
.side figure{margin:0;padding:.65rem .8rem .7rem;background:var(--panel);display:flex;flex-direction:column;min-width:0}
.side figcaption{margin:0;font-size:.78rem;line-height:1.4}
.side figcaption small{display:block;font-size:.75rem}
blockquote{margin:.4rem 0 .5rem;font-family:var(--serif);font-size:1rem;line-height:1.5;overflow-wrap:anywhere;
white-space:pre-line;flex:1}
blockquote .cut,blockquote i{color:var(--muted)}
p.numbers{margin:0;font-size:.75rem;line-height:1.4;color:var(--muted);display:flex;flex-wrap:wrap;gap:0 .8rem}
h4.of{font-size:1rem;margin:1.8rem 0 0}
h4.of+.compared{margin-top:.3rem}
.mixes tr.first th,.mixes tr.first td{padding-top:.8rem}
.mixes td:last-child.n{padding-right:.9rem}
.mixes td b{font-weight:600}
.mixes td b small{font-weight:400}
.data a{white-space:nowrap}
.points{margin-top:2.4rem}
table.heat{table-layout:fixed}
table.heat th,table.heat td{padding:.3rem .1rem;text-align:center;border:0;font-size:.8125rem}
table.heat td{border:1px solid var(--paper)}
table.heat thead th{font-weight:400;color:var(--muted);border-bottom:0}
table.heat th:first-child{width:2.8rem;text-align:left;color:var(--muted)}
table.heat td.unsafe,.mark.unsafe{background-image:linear-gradient(225deg,#c8862d .34rem,transparent .38rem)}
table.heat td.best{outline:2.5px solid #d1491b;outline-offset:-1px;font-weight:600;position:relative}
.marks{display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;margin-bottom:.8rem}
.mark{display:inline-block;width:1.1rem;height:.9rem;margin-right:.45rem;vertical-align:-.1rem;background-color:#88b3cf}
.mark.best{outline:2.5px solid #d1491b;outline-offset:-1px}
.mixes tr:not(.first)+tr.first th,.mixes tr:not(.first)+tr.first td{border-top:1px solid var(--muted)}
.mixes tbody tr:not(:last-child):not(:has(+ tr.first)) :is(th,td):not([rowspan]){border-bottom:0}
.missed{margin-top:1rem}
@media (max-width:40rem){
dl.done{grid-template-columns:minmax(0,1fr);gap:0}
dl.done dd{margin-bottom:.7rem}
.of-concept>summary small{display:block}
}
@media print{
.heat td,.mark{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.of-concept{break-inside:avoid}
.side{grid-template-columns:repeat(4,1fr)}
}
"""
