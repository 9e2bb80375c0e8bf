"""The page's style sheet: quiet, readable on a phone, light and dark, and on paper."""

from steerwright.report.html.theme import DARK, LIGHT


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


STYLE_SHEET = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    """
:root{--sans:system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,"DejaVu Sans",sans-serif;
--serif:"Iowan Old Style","Palatino Linotype",Palatino,Charter,Georgia,"DejaVu Serif",serif;
--mono:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 var(--sans);font-variant-numeric:tabular-nums}
main{max-width:76rem;margin:0 auto;padding:3.5rem 1.5rem 5rem}
h1,h2,.number{font-family:var(--serif);font-weight:500;letter-spacing:-.01em}
h1{font-size:clamp(1.9rem,4.5vw,2.7rem);line-height:1.15;margin:0 0 .5rem;text-wrap:balance}
h2{font-size:1.5rem;line-height:1.25;margin:0 0 .4rem}
h3{font-size:1rem;font-weight:600;margin:2rem 0 .3rem}
section{margin-top:4rem;scroll-margin-top:1rem}
p{margin:.4rem 0;max-width:46rem}
a{color:var(--adaptive);text-underline-offset:.15em;text-decoration-thickness:1px}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--adaptive);outline-offset:2px}
.muted,figcaption,caption,.note{color:var(--muted)}
.note,figcaption,caption{font-size:.875rem;line-height:1.5}
nav{margin-top:1.4rem;font-size:.875rem;display:flex;flex-wrap:wrap;gap:.3rem 1.2rem}
.headlines{display:grid;grid-template-columns:repeat(auto-fit,minmax(15.5rem,1fr));gap:2rem 2.2rem;margin:3rem 0 0;
padding:0;list-style:none}
.headlines li{border-top:2px solid var(--ink);padding-top:.8rem}
.number{display:block;font-size:3.1rem;line-height:1.1;margin-bottom:.35rem}
.bar{display:block;margin-top:.6rem;font-size:.8125rem;color:var(--muted)}
.verdict{white-space:nowrap}
.verdict.yes{color:var(--adaptive)}.verdict.no{color:var(--fixed)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:3rem 3.5rem;
align-items:start}
.figures section{margin-top:0;min-width:0}
.figures.below{margin-top:4rem}
figure{margin:1rem 0 0}
svg.figure{display:block;width:100%;max-width:34rem;height:auto;overflow:visible}
svg.figure *{stroke-linejoin:round;stroke-linecap:butt}
figcaption{margin-top:.5rem;max-width:38rem}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,34rem),1fr));gap:2.2rem 2.2rem;
margin:1.6rem 0 0;padding:0;list-style:none}
.sheet h3{font-size:.9375rem;line-height:1.4;font-weight:400;margin:0 0 .5rem;display:flex;gap:.6rem}
.sheet h3 b{font-weight:400;color:var(--muted);min-width:1.4rem}
.three{display:grid;grid-template-columns:repeat(3,minmax(0,12rem));gap:.4rem}
.three figure{margin:0}
.three img{display:block;width:100%;height:auto;background:var(--panel)}
.three img.small{image-rendering:pixelated}
.three figcaption{margin-top:.2rem;font-size:.8125rem;line-height:1.35;display:flex;flex-wrap:wrap;gap:0 .6rem}
.is-winter{color:var(--adaptive);font-weight:600}
.scroll{overflow-x:auto;margin-top:1rem;-webkit-overflow-scrolling:touch}
table{border-collapse:separate;border-spacing:0;font-size:.875rem;line-height:1.4;width:100%}
table:not(.wide){max-width:54rem}
.wide{min-width:40rem}
caption{text-align:left;padding-bottom:.5rem}
th,td{padding:.45rem .9rem .45rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th:last-child,td:last-child{padding-right:0}
thead th{font-weight:600;border-bottom:1px solid var(--ink);vertical-align:bottom}
tbody th{font-weight:400}
td.n,th.n{text-align:right}
.n+td:not(.n),.n+th:not(.n){padding-left:1.2rem}
td small{display:block;color:var(--muted);font-size:.75rem;white-space:nowrap}
th small{display:block;color:var(--muted);font-size:.78rem;font-weight:400;max-width:19rem}
tr.chosen td,tr.chosen th{font-weight:600}
tbody tr.group th{padding-top:1.1rem;font-weight:600;border-bottom-color:var(--muted)}
.doses td:nth-child(2){white-space:nowrap}
.meter{display:inline-block;height:.5rem;background:var(--adaptive);margin-right:.5rem;vertical-align:baseline}
.key{display:inline-block;width:.62rem;height:.62rem;border-radius:50%;margin-right:.4rem}
details{margin-top:1.2rem}
summary{cursor:pointer;font-size:.9375rem}
.pairs{display:grid;grid-template-columns:minmax(8rem,max-content) minmax(0,1fr);gap:.15rem 1.4rem;margin:.6rem 0 0;
font-size:.8125rem;line-height:1.5}
.pairs dt{color:var(--muted);overflow-wrap:anywhere}
.pairs dd{margin:0;overflow-wrap:anywhere;font-family:var(--mono);font-size:.78rem}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:0 3.5rem}
@media (max-width:40rem){
main{padding:2rem 1rem 3.5rem}section{margin-top:3rem}.headlines{margin-top:2rem;gap:1.6rem}
.number{font-size:2.6rem}.three{gap:.25rem}.three figcaption{font-size:.75rem;flex-direction:column}
.scroll{margin-right:-1rem;padding-right:1rem}
.scroll tbody th,.scroll thead th:first-child{position:sticky;left:0;background:var(--paper);max-width:9.5rem}
.scroll table:not(.wide) th{position:static;max-width:none}
.scroll tbody tr.group th{position:static;max-width:none}
.meter{display:none}.doses tbody th{width:46%}
tr.group th span{display:block;position:sticky;left:0;max-width:20.5rem}
th,td{padding-right:.7rem}
.pairs{grid-template-columns:minmax(0,1fr)}.pairs dd{margin-bottom:.4rem}
}
@media print{
:root{color-scheme:light}
body{font-size:9.5pt;background:#fff}main{max-width:none;padding:0}nav,.data{display:none}
section{margin-top:1.6rem}.headlines{grid-template-columns:repeat(4,1fr);gap:1rem;margin-top:1.2rem}.number{font-size:1.9rem}
.sheet{grid-template-columns:repeat(2,1fr);gap:.8rem 1.4rem}.three figcaption{flex-direction:column;font-size:7.5pt}
.sheet li,figure,tr,.headlines li{break-inside:avoid}
h2,h3{break-after:avoid}.figures{grid-template-columns:1fr 1fr;gap:1.5rem}.wide{min-width:0}
.scroll{overflow:visible}img{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.key,.meter,svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""
)
