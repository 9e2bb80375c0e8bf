"""What the page of attention edits adds to the common style sheet."""

ATTENTION_STYLE = """
.edit{border-top:2px solid var(--ink);padding-top:1.6rem}
.edit .headlines{margin-top:1.8rem}
.edit .headlines li{border-top:1px solid var(--rule)}
.edit .number{font-size:2.4rem}
.edit h3{margin-top:2.6rem}
.edit .figures{margin-top:2.4rem}
.figures h3{margin-top:0}
table.grid{width:auto;min-width:0;max-width:none}
.grid th,.grid td{border-bottom:0;padding:.2rem .25rem}
.grid thead th{font-size:.8125rem;line-height:1.3;border-bottom:0;padding-bottom:.3rem;vertical-align:bottom}
.grid thead th[colspan]{border-bottom:1px solid var(--muted)}
.grid tbody tr.group th{padding:.9rem .25rem .1rem;font-weight:400;font-size:.9375rem;line-height:1.4}
.grid tbody tr.group th small{display:inline;max-width:none;margin-left:.6rem}
.grid td{width:7rem;min-width:5.6rem;max-width:8.5rem;vertical-align:top}
.grid th.control{font-weight:400;color:var(--muted)}
.grid figure{margin:0}
.grid td.first,.grid th.first{padding-left:1.1rem}.grid td.first{width:7.85rem}
.grid img{display:block;width:100%;height:auto;background:var(--panel)}
.grid img.small{image-rendering:pixelated}
.grid .operating img{outline:3px solid var(--adaptive);outline-offset:1px}
.grid th.operating{color:var(--adaptive)}
.grid th.operating small{color:inherit}
.grid figcaption{margin-top:.3rem;font-size:.75rem;line-height:1.35;overflow-wrap:anywhere}
.grid figcaption .changed{display:block;color:var(--fixed)}
.concept summary{font-size:1.05rem}
@media (max-width:40rem){
.grid th,.grid td{padding:.15rem .2rem}
.scroll table.grid thead th:first-child{max-width:none}
.scroll thead tr+tr th:first-child{position:static;max-width:none}
.grid tbody td:first-child{position:sticky;left:0;background:var(--paper);z-index:1}
.scroll table.grid thead tr:first-child th:first-child,.scroll thead th[rowspan]{z-index:1}
.edit .number{font-size:2.1rem}
}
@media print{.grid td{min-width:0;width:auto}.concept{display:block}}
"""
