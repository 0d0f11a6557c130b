use contracts::{Coordination, OrderCancelled, OrderConfirmed, OrderPlaced, Timestamp};

use super::*;

fn euro(amount: i64) -> Money {
    Money { amount, currency: "EUR".to_owned() }
}

fn customer(name: Option<&str>) -> Customer {
    Customer { email: "ada@example.com".to_owned(), name: name.map(str::to_owned) }
}

fn lines() -> Vec<Line> {
    vec![
        Line {
            sku: "mug".to_owned(),
            name: "Blue mug".to_owned(),
            quantity: 2,
            unit_price: euro(1250),
        },
        Line {
            sku: "tea".to_owned(),
            name: "Tea & <b>cake</b>".to_owned(),
            quantity: 1,
            unit_price: euro(5),
        },
    ]
}

fn confirmed(name: Option<&str>, total: Money) -> Mail {
    let order_id = OrderId::from_u128(7);
    Mail::of(&Incoming::OrderConfirmed(OrderConfirmed {
        order_id,
        customer: customer(name),
        lines: lines(),
        total,
    }))
}

fn cancelled(reason: Cancellation) -> Mail {
    let order_id = OrderId::from_u128(7);
    Mail::of(&Incoming::OrderCancelled(OrderCancelled {
        order_id,
        customer: customer(None),
        lines: lines(),
        total: euro(2505),
        reason,
        coordination: contracts::Coordination::Choreography,
    }))
}

#[test]
fn a_receipt_lists_lines_prices_and_total() {
    let mail = confirmed(Some("Ada"), euro(2505));
    assert_eq!(mail.key.kind, Kind::Receipt);
    assert_eq!(mail.subject, "Your receipt for order 00000000-0000-0000-0000-000000000007");
    for part in [
        "Hello Ada,\r\n",
        "2 x Blue mug, 12.50 EUR each: 25.00 EUR\r\n",
        "1 x Tea & <b>cake</b>, 0.05 EUR each: 0.05 EUR\r\n",
        "Paid: 25.05 EUR\r\n",
    ] {
        assert!(mail.text.contains(part), "{part:?} is missing in {}", mail.text);
    }
    assert!(!mail.text.contains("Discount"));
    assert!(mail.html.contains("<td>Tea &amp; &lt;b&gt;cake&lt;/b&gt;</td>"), "{}", mail.html);
    assert!(mail.html.contains("25.05 EUR"));
}

#[test]
fn what_a_coupon_took_off_is_shown() {
    let mail = confirmed(None, euro(2005));
    assert!(mail.text.contains("Discount: -5.00 EUR\r\nPaid: 20.05 EUR\r\n"), "{}", mail.text);
    assert!(mail.html.contains("-5.00 EUR"));
}

#[test]
fn an_acknowledgement_says_what_will_be_charged() {
    let mail = Mail::of(&Incoming::OrderPlaced(OrderPlaced {
        order_id: OrderId::from_u128(7),
        customer: customer(None),
        lines: lines(),
        total: euro(2505),
        card_token: "tok_secret".to_owned(),
        coordination: Coordination::Choreography,
        placed_at: Timestamp::from_micros(0),
    }));
    assert_eq!(mail.key.kind, Kind::Acknowledgement);
    assert!(mail.text.starts_with("Hello,\r\n"));
    assert!(mail.text.contains("To be charged: 25.05 EUR"));
    assert!(!mail.text.contains("tok_secret") && !mail.html.contains("tok_secret"));
}

#[test]
fn a_notice_gives_the_reason_and_the_money_back() {
    for (reason, words) in [
        (Cancellation::PaymentDeclined, "your card was declined"),
        (Cancellation::StockRejected, "out of stock"),
        (Cancellation::Customer, "as you asked"),
        (Cancellation::Deadline, "not be confirmed in time"),
    ] {
        let mail = cancelled(reason);
        assert_eq!(mail.key.kind, Kind::Notice);
        for body in [&mail.text, &mail.html] {
            assert!(body.contains(words), "{words:?} is missing in {body}");
            assert!(body.contains("given back"), "{body}");
        }
    }
}

#[test]
fn a_hostile_name_stays_a_name() {
    let mail = confirmed(
        Some("Eve\r\nBcc: all@example.com\r\n\r\n<script>alert('x')</script>"),
        euro(2505),
    );
    let name = mail.name.as_deref().unwrap();
    assert!(!name.contains(['\r', '\n']), "{name:?}");
    assert!(
        mail.text.starts_with("Hello Eve Bcc: all@example.com <script>alert('x')</script>,\r\n")
    );
    assert!(!mail.html.contains("<script"), "{}", mail.html);
    assert!(mail.html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
}

#[test]
fn names_of_all_scripts_are_kept() {
    for name in ["Zoë Łukasz", "山田 太郎", "نور", "👩‍👩‍👧"] {
        let mail = confirmed(Some(name), euro(2505));
        assert_eq!(mail.name.as_deref(), Some(name));
        assert!(mail.text.contains(name) && mail.html.contains(name));
    }
}

#[test]
fn every_line_ends_with_cr_lf() {
    let mail = confirmed(Some("Ada"), euro(2005));
    for body in [&mail.text, &mail.html] {
        assert_eq!(body.matches('\n').count(), body.matches("\r\n").count());
        assert_eq!(body.matches('\r').count(), body.matches("\r\n").count());
    }
}

#[test]
fn kinds_are_found_by_their_names() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.as_str()), Some(kind));
    }
    assert_eq!(Kind::named("love letter"), None);
}
