#pragma once

/// Style, script and fixed text of report.html, kept inside the page. The colours of methods and categories are added
/// by page.cpp.
namespace osteon::report {

inline constexpr const char* kStyleSheet = R"css(
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
  font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif;
  font-variant-numeric:tabular-nums lining-nums}
main{max-width:1200px;margin:0 auto;padding:2.6rem 1.5rem 4rem}
h1,h2,h3,.headline{font-family:Charter,"Bitstream Charter","Iowan Old Style",Georgia,"Noto Serif","Liberation Serif",serif;
  font-weight:600;line-height:1.25;text-wrap:balance}
h1{font-size:2.15rem;margin:.1rem 0 .4rem;letter-spacing:-.01em}
h2{font-size:1.35rem;margin:3.2rem 0 .3rem;padding-top:.9rem;border-top:1px solid var(--line)}
h3{font-size:1.08rem;margin:1.8rem 0 .4rem}
p{margin:.4rem 0 .8rem;max-width:46rem}
a{color:inherit;text-decoration-color:var(--axis);text-underline-offset:.2em}
.kicker{font-size:.75rem;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin:0}
.question{font:italic 1.2rem/1.4 Charter,"Bitstream Charter","Iowan Old Style",Georgia,"Noto Serif","Liberation Serif",serif;
  color:var(--soft);margin:.2rem 0 .7rem;max-width:58rem}
p.meta,p.note{max-width:60rem}
.meta,.note,figcaption,caption,.small{color:var(--soft);font-size:.84rem}
.filter{font:inherit;font-size:.84rem;padding:.2rem .5rem;margin:.2rem 0 .4rem;width:14rem;max-width:100%;color:var(--ink);
  background:var(--card);border:1px solid var(--line);border-radius:4px}
@media print{.filter{display:none}}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:1rem 0 0;font-size:.88rem}
.finding{margin:1.8rem 0 0;padding:1.25rem 1.5rem 1.1rem;background:var(--card);border-radius:6px;border:1px solid var(--line)}
.finding h2{all:unset;display:block;font-size:.75rem;letter-spacing:.09em;text-transform:uppercase;color:var(--soft)}
.headline{font-size:1.4rem;margin:.35rem 0 .9rem;max-width:58rem;line-height:1.35}
.finding dl{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1.1rem;margin:0}
.finding dt{font-weight:600}.finding dd{margin:0;max-width:56rem}
.caution{margin:1rem 0 0;padding:.7rem 1.1rem;border-left:4px solid var(--warn);background:var(--card);border-radius:0 6px 6px 0}
.caution ul{margin:.2rem 0;padding-left:1.1rem}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch;margin:.5rem 0 .3rem}
table{border-collapse:collapse;font-size:.88rem;width:100%}
table.narrow{width:auto}
caption{text-align:left;caption-side:bottom;padding:.5rem 0}
th,td{padding:.42rem .65rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
thead th{font-weight:600;color:var(--soft);font-size:.79rem;border-bottom:1.5px solid var(--axis);vertical-align:bottom}
th:first-child,td:first-child,td.text,th.text{text-align:left}
tbody th{font-weight:600}
table.results tbody th,table.results thead th:first-child,table.matrix tbody th{position:sticky;left:0;background:var(--paper);z-index:1}
tbody tr:hover>*{background:var(--card)}
th[role=columnheader]{cursor:pointer}
th[aria-sort]::after{content:" \2191";color:var(--axis)}
th[aria-sort=descending]::after{content:" \2193"}
.pm{color:var(--soft)}
.strong{font-weight:650}
.dot{display:inline-block;width:.68em;height:.68em;border-radius:50%;margin-right:.5em;vertical-align:.02em}
.key{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;font-size:.86rem;margin:.5rem 0 .2rem;padding:0;list-style:none}
.key .dot.square{border-radius:2px}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:1.1rem 1.5rem;margin:.5rem 0}
figure{margin:0;min-width:0;max-width:470px}
figure svg{width:100%;height:auto;display:block}
figcaption{font-weight:600;color:var(--ink);margin:0 0 .1rem}
.strip{display:block;width:130px;height:18px}
table.matrix{width:auto;font-size:.86rem}
table.matrix td{text-align:center;min-width:4.4rem;padding:.3rem .3rem}
table.matrix th{padding:.3rem .35rem}
table.matrix td.apart{font-weight:650;background:var(--mark)}
table.matrix td small{display:block;font-weight:400;color:var(--soft);font-size:.74rem;line-height:1.25}
table.matrix thead th{text-align:center}
table.matrix thead th:first-child{text-align:left}
.grid3{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,360px),1fr));gap:.6rem 1.8rem}
.grid3>div{min-width:0}
details{margin:.7rem 0}summary{cursor:pointer;color:var(--soft);font-size:.88rem}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.4rem;font-size:.9rem;margin:.6rem 0}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem;overflow-x:auto;
  font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
@media(max-width:600px){main{padding:1.4rem .9rem 3rem}h1{font-size:1.6rem}.headline{font-size:1.14rem}
  .finding{padding:1rem}.finding dl{grid-template-columns:1fr;gap:.1rem}.finding dd{margin-bottom:.6rem}
  th,td{padding:.38rem .5rem}dl.facts{grid-template-columns:1fr;gap:0}dl.facts dd{margin-bottom:.5rem}
  table.matrix td{min-width:4.2rem;padding:.3rem .2rem}}
@media print{body{font-size:10pt}main{max-width:none;padding:0}nav,summary{display:none}.scroll{overflow:visible}
  h2,h3{break-after:avoid}figure,tr,.finding{break-inside:avoid}table{font-size:7.6pt}th,td{padding:2pt 3.5pt}
  .panels{grid-template-columns:repeat(3,1fr)}table.results tbody th{position:static}}
)css";

inline constexpr const char* kLightColours =
    "--paper:#ffffff;--card:#f6f7f9;--ink:#1f2933;--soft:#5a6675;--line:#e3e7ec;--axis:#8a94a3;--grid:#e3e7ec;"
    "--warn:#c98a00;--mark:#e4f0e8;";
inline constexpr const char* kDarkColours =
    "--paper:#14181d;--card:#1b2027;--ink:#e6e9ed;--soft:#a0abb8;--line:#2c343e;--axis:#6f7b89;--grid:#29313a;"
    "--warn:#d9a441;--mark:#1d3a2d;";

/// What the numbers and tests mean: docs/decisions/statistics.md for readers of a page.
inline constexpr const char* kHowToRead = R"html(
<p><strong>Accuracy ±</strong> is the half width of the 95% Student t interval of the mean over seeds: what training again
would change. <strong>Over items</strong> is a 95% percentile bootstrap over test items with the answers averaged over seeds:
what another test set would change.</p>
<p><strong>The test over seeds</strong> takes methods and seeds as a randomized complete block design, since a seed fixes the
data of every method: the residuals of all methods are pooled. Where Bartlett’s test finds their spreads too different
(p &lt; 0.01), plain paired t-tests decide, and the page says so. <strong>The test over items</strong> is the exact paired
permutation test of per-item differences, summed over seeds; with one seed it is McNemar’s exact test. Both are
Holm-corrected for the pairs of a task, not for the number of tasks. <strong>Told apart</strong> means that every test that
could be made has a corrected p below 0.05.</p>
<p><strong>Within noise</strong>: the least significant difference of one pair at 5%, without correction. Differences below
it are never called one; above it the corrected test decides. <strong>Effect d</strong> is the difference in units of the
pooled standard deviation over seeds.</p>
)html";

/// Sorts a table by the clicked heading; cells carry their number in data-v. Without script the tables stand as they
/// are.
inline constexpr const char* kScript = R"js(
document.querySelectorAll('table.sortable').forEach(function(table){
  var heads=table.tHead.rows[0].cells,body=table.tBodies[0];
  function value(row,i){var c=row.cells[i];return c.dataset.v===undefined?c.textContent.trim():c.dataset.v===''?NaN:parseFloat(c.dataset.v)}
  Array.prototype.forEach.call(heads,function(head,i){
    head.setAttribute('role','columnheader');head.tabIndex=0;
    function sort(){
      var down=head.getAttribute('aria-sort')==='ascending';
      Array.prototype.forEach.call(heads,function(h){h.removeAttribute('aria-sort')});
      head.setAttribute('aria-sort',down?'descending':'ascending');
      Array.prototype.slice.call(body.rows).map(function(r,n){return[r,value(r,i),n]}).sort(function(a,b){
        var x=a[1],y=b[1];
        if(x!==x||y!==y)return(x!==x)-(y!==y)||a[2]-b[2];
        return(x<y?-1:x>y?1:0)*(down?-1:1)||a[2]-b[2];
      }).forEach(function(p){body.appendChild(p[0])});
    }
    head.addEventListener('click',sort);
    head.addEventListener('keydown',function(e){if(e.key==='Enter'||e.key===' '){e.preventDefault();sort()}});
  });
  if(body.rows.length>5){
    var box=document.createElement('input'),frame=table.closest('.scroll')||table;
    box.type='search';box.className='filter';box.placeholder='Filter rows';box.setAttribute('aria-label','Filter rows');
    box.addEventListener('input',function(){
      var words=box.value.toLowerCase().split(/\s+/).filter(Boolean);
      Array.prototype.forEach.call(body.rows,function(r){
        var text=r.textContent.toLowerCase();
        r.hidden=!words.every(function(w){return text.indexOf(w)>=0});
      });
    });
    frame.parentNode.insertBefore(box,frame);
  }
});
)js";

}  // namespace osteon::report
