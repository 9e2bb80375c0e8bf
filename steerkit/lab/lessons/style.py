"""The look of the lessons, beside that of the drawings."""

LESSON_STYLE = """
.lesson-text{max-width:46rem;line-height:1.6;color:var(--ink)}
.lesson-text h3{font-family:var(--serif);font-weight:500!important;font-size:1.3rem;margin:.2rem 0 .4rem}
.lesson-text .promise{color:var(--muted);margin:0 0 .9rem}
.lesson-text p{margin:.5rem 0}
.lesson-text .task{border-left:3px solid var(--adaptive);padding:.5rem .9rem;margin:1rem 0 .2rem;
background:var(--panel)}
.lesson-text .task b{display:block;font-size:.8125rem;color:var(--muted);font-weight:600}
.lesson-verdict{border-left:3px solid var(--fixed);padding:.6rem .9rem;margin:.4rem 0 1rem;background:var(--panel);
color:var(--ink);max-width:46rem;line-height:1.55}
.lesson-verdict b{display:block;margin-bottom:.15rem}
.lesson-verdict.passed{border-color:var(--chart-fourth)}
.lesson-verdict.passed b{color:var(--chart-fourth)}
.lesson-shown{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:.4rem 2.5rem;
align-items:start}
.lesson-shown .lab-chart:has(table.heat){grid-column:1/-1;min-width:0}
.lesson-quotes h4{font-size:.9375rem;font-weight:600;margin:0 0 .2rem!important;color:var(--ink)}
.lesson-quotes ul{list-style:none;margin:0 0 1rem!important;padding:0!important}
.lesson-quotes li{list-style:none!important;padding:.4rem 0;border-bottom:1px solid var(--rule);line-height:1.45;
font-size:.9rem;color:var(--ink)}
.lesson-quotes li span{display:block;color:var(--muted);font-size:.8125rem}
.lesson-bars .row{display:grid;grid-template-columns:minmax(5rem,auto) minmax(5rem,1fr) auto;gap:.2rem .8rem;
align-items:center;font-size:.875rem;margin:.3rem 0}
.lesson-bars .row span{color:var(--ink)}
.lesson-bars .row em{font-style:normal;color:var(--muted);white-space:nowrap}
.lesson-bars .bar{position:relative;height:.85rem;background:color-mix(in oklab,var(--muted) 9%,var(--paper));
border-radius:2px}
.lesson-bars .bar i{position:absolute;inset:0 auto 0 0;background:var(--colour);border-radius:2px;opacity:.75}
.lesson-bars .bar b{position:absolute;top:50%;height:2px;margin-top:-1px;background:var(--ink);opacity:.7}
.lesson-ruler{position:relative;height:3rem;margin:.6rem 0 1rem;max-width:36rem;
background:linear-gradient(var(--rule),var(--rule)) 0 1rem/100% 2px no-repeat}
.lesson-ruler i{position:absolute;top:.55rem;width:.95rem;height:.95rem;margin-left:-.475rem;border-radius:50%;
background:var(--adaptive)}
.lesson-ruler span{position:absolute;top:1.5rem;transform:translateX(-50%);font-size:.8125rem;color:var(--muted)}
.lesson-ruler span::before{content:"";position:absolute;left:50%;top:-.85rem;height:.7rem;width:2px;
background:var(--muted)}
.lesson-list .wrap{flex-direction:column;gap:.1rem}
.lesson-list label{border:0!important;width:100%}
"""
