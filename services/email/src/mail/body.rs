//! The two bodies of a mail, which say the same: plain text and HTML. Lines end with CR LF.

use contracts::{Line, Money, OrderId};

use super::{
    money::line_total,
    words::{Html, one_line, put},
};

/// The longest product name in a mail, in characters.
const MAX_PRODUCT: usize = 120;

/// What a mail's body is made of. Nothing is escaped yet.
pub(super) struct Letter<'m> {
    pub(super) order_id: OrderId,
    pub(super) name: Option<&'m str>,
    pub(super) subject: &'m str,
    pub(super) message: &'m str,
    pub(super) lines: &'m [Line],
    pub(super) total: &'m Money,
    pub(super) total_label: &'static str,
}

impl Letter<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(512 + 160 * self.lines.len());
        match self.name {
            Some(name) => put(&mut text, format_args!("Hello {name},\r\n\r\n")),
            None => text.push_str("Hello,\r\n\r\n"),
        }
        put(&mut text, format_args!("{}\r\n\r\nOrder {}\r\n\r\n", self.message, self.order_id));
        for line in self.lines {
            let (name, cost) = (one_line(&line.name, MAX_PRODUCT), cost(line));
            let price = line.unit_price.to_string();
            put(&mut text, format_args!("{} x {name}, {price} each: {cost}\r\n", line.quantity));
        }
        if let Some(discount) = self.discount() {
            put(&mut text, format_args!("Discount: {discount}\r\n"));
        }
        let total = self.total.to_string();
        put(&mut text, format_args!("{}: {total}\r\n\r\nThe Shop\r\n", self.total_label));
        text
    }

    pub(super) fn html(&self) -> String {
        let mut html = String::with_capacity(1024 + 240 * self.lines.len());
        put(
            &mut html,
            format_args!(
                "<!doctype html>\r\n<html lang=\"en\">\r\n<head><meta charset=\"utf-8\"><title>{}</title></head>\r\n<body>\r\n",
                Html(self.subject)
            ),
        );
        match self.name {
            Some(name) => put(&mut html, format_args!("<p>Hello {},</p>\r\n", Html(name))),
            None => html.push_str("<p>Hello,</p>\r\n"),
        }
        put(
            &mut html,
            format_args!("<p>{}</p>\r\n<p>Order {}</p>\r\n", Html(self.message), self.order_id),
        );
        html.push_str("<table cellpadding=\"4\">\r\n<tr><th>Quantity</th><th align=\"left\">Product</th><th>Price</th><th>Sum</th></tr>\r\n");
        for line in self.lines {
            let (name, cost) = (one_line(&line.name, MAX_PRODUCT), cost(line));
            put(
                &mut html,
                format_args!(
                    "<tr><td align=\"right\">{}</td><td>{}</td><td align=\"right\">{}</td><td align=\"right\">{}</td></tr>\r\n",
                    line.quantity,
                    Html(&name),
                    Html(&line.unit_price.to_string()),
                    Html(&cost),
                ),
            );
        }
        if let Some(discount) = self.discount() {
            sum(&mut html, "Discount", &discount);
        }
        sum(&mut html, self.total_label, &self.total.to_string());
        html.push_str("</table>\r\n<p>The Shop</p>\r\n</body>\r\n</html>\r\n");
        html
    }

    /// What a coupon took off; none when the total is what the lines add up to.
    fn discount(&self) -> Option<String> {
        let currency = &self.total.currency;
        if self.lines.iter().any(|line| line.unit_price.currency != *currency) {
            return None;
        }
        let sum: i128 = self.lines.iter().map(line_total).sum();
        let difference = i128::from(self.total.amount) - sum;
        (difference < 0).then(|| Money::format(difference, currency))
    }
}

fn cost(line: &Line) -> String {
    Money::format(line_total(line), &line.unit_price.currency)
}

fn sum(html: &mut String, label: &str, amount: &str) {
    put(
        html,
        format_args!(
            "<tr><th align=\"left\" colspan=\"3\">{}</th><td align=\"right\">{}</td></tr>\r\n",
            Html(label),
            Html(amount)
        ),
    );
}
