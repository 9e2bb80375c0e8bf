"""What the page of latents adds to the common style sheet and to that of grids."""

from steerkit.report.attention.style import ATTENTION_STYLE

LATENTS_STYLE = (
    ATTENTION_STYLE
    + """
.grid th.operating,.grid figcaption .asked{color:var(--ink);font-weight:600}
.grid thead th{font-weight:600}
.grid tbody tr.group th{max-width:none;white-space:nowrap}
.headlines{grid-template-columns:repeat(auto-fit,minmax(12.4rem,1fr))}
dl.done{display:grid;grid-template-columns:minmax(7rem,max-content) minmax(0,46rem);gap:.45rem 1.6rem;margin:1rem 0 0}
dl.done dt{font-weight:600}
dl.done dd{margin:0}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:2.2rem 2.4rem;
margin:1rem 0 0;padding:0;list-style:none}
.cards li{border-top:1px solid var(--muted);padding-top:.7rem;min-width:0;scroll-margin-top:1rem}
.cards h4{margin:0;font-size:1rem;font-weight:600}
.cards h4 small{font-weight:400;color:var(--muted);margin-left:.6rem;font-size:.8125rem}
.facts{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:.3rem 0 .6rem;font-size:.8125rem;line-height:1.5}
.facts div{white-space:nowrap}
.facts dt,.facts dd{display:inline;margin:0}
.facts dt{color:var(--muted);margin-right:.35rem}
.tops{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.6rem,1fr));gap:.7rem .7rem}
.tops figure{margin:0;display:grid;grid-template-columns:1fr 1fr;gap:2px;align-content:start}
.tops img{display:block;width:100%;height:auto;background:var(--panel)}
.tops img.small,img.strip{image-rendering:pixelated}
.tops figcaption{grid-column:1/-1;margin-top:.15rem;font-size:.75rem;line-height:1.35;overflow-wrap:anywhere}
.tops figcaption b{color:var(--ink);font-weight:600}
.by-step{margin:.8rem 0 0}
.by-step figcaption{margin-top:.2rem;font-size:.75rem}
.by-step figcaption .key{margin-left:.3rem;margin-right:.25rem}
img.strip{display:block;width:100%;height:auto}
.steps{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;font-size:.6875rem;color:var(--muted);text-align:center;
line-height:1.5}
svg.spark{display:block;width:100%;height:4.4rem}
.stack{display:grid;gap:3rem;min-width:0}
.scale{display:inline-block;width:6rem;height:.7rem;vertical-align:baseline;margin:0 .35rem}
.concept h3{margin-top:1rem}
h3+.scroll{margin-top:.6rem}
@media (max-width:40rem){
dl.done{grid-template-columns:minmax(0,1fr);gap:0}
dl.done dd{margin-bottom:.7rem}
.tops{grid-template-columns:repeat(2,minmax(0,1fr))}
.grid tbody tr.group th{white-space:normal}
}
@media print{.cards{grid-template-columns:1fr 1fr}.cards li{break-inside:avoid}}
"""
)
