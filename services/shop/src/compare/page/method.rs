//! The end of the page: how it was measured, and whose work draws it.

use super::{
    super::{audit, figures::Compared, system::RETRY_DELAYS, table::columns},
    Text,
};

const D3_LICENSE: &str = include_str!("../../../assets/d3/LICENSE");
const PLOT_LICENSE: &str = include_str!("../../../assets/plot/LICENSE");

pub(super) fn method(results: &[Compared]) -> String {
    let meanings: String = columns()
        .map(|(name, what)| format!("<dt>{}</dt><dd>{}.</dd>\n", Text(&name), Text(what)))
        .collect();
    let rates: Vec<_> = results
        .iter()
        .map(|result| format!("{} {}", result.scenario.short(), result.rate))
        .collect();
    format!(
        r#"<section id="method">
<h2>How it was measured</h2>
<ul>
<li>One shop, started for this; every service is a process of its own. The three styles take turns in each scenario, with the same number of checkouts a
second for the same time. At the same time they would be in each other's way at the services that they share, and nobody could say whose fault a
figure is.</li>
<li>Customers don't wait for each other: a checkout starts on time, whether those before it were answered or not, and its time counts from when it was meant
to start. Checkouts a second: {rates}.</li>
<li>The healthy shop and the one with the slow mail server are compared by their p99, so they alternate in short turns, and each one's p99 is the median of
its turns' p99: whatever else the machine does meets both, and a bad moment doesn't decide. In the other scenarios a p99 is that of one or two checkouts, and says little on a machine that does something else too.</li>
<li>Counted are the checkouts that began while it was broken, but not those of the last second or two, which could meet the mended shop: it stays
broken until all that count are answered. The plots show all of them.</li>
<li>A refusal is not repeated; a checkout whose answer never came is, with the same <code>Idempotency-Key</code>.</li>
<li>Afterwards all is mended, and orders have {limit} s to settle; those made by calls {calls_limit} s, since nobody goes on
with them but payment, which gives money back. Then the order service is asked for every order, the card processor for every charge, the mail
server for every mail, and the broker for dead letters.</li>
<li>Failed messages are tried again after {delays}, and email may send 256 mails at a time, so that a run doesn't take an afternoon. A call may
take 15 s.</li>
<li>A checkout by calls sends one mail, the receipt. The other styles send two: who answers before all is done says so first.</li>
</ul>
<h3>The columns</h3>
<dl>
{meanings}</dl>
</section>"#,
        rates = Text(&rates.join(", ")),
        limit = audit::LIMIT.as_secs(),
        calls_limit = audit::CALLS_LIMIT.as_secs(),
        delays = Text(&RETRY_DELAYS.replace(',', ", ")),
    )
}

pub(super) fn footer() -> String {
    format!(
        r#"<footer>
<p>Drawn with Observable Plot and D3, which are in this file: nothing is loaded from anywhere.</p>
<details><summary>Their licences</summary>
<pre>Observable Plot
{}</pre>
<pre>D3
{}</pre>
</details>
</footer>"#,
        Text(PLOT_LICENSE),
        Text(D3_LICENSE)
    )
}
